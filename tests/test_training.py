"""What a run computes and records: evaluation, the exact trajectory, the run folder, and training in two processes."""

import copy
import csv
import importlib
import json
import math
import os
import shlex
import subprocess
import sys
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import (
    CHECKPOINTS,
    ROOT,
    SCRIPTS,
    SHORT,
    assert_same_run,
    failing_short_run,
    parse,
    read_checkpoint,
    short_run,
    weights_of,
)
from forks import together
from torch import nn

import cifar10_utils
import convnet_pytorch
import train_mlp_numpy
from mlp_numpy import MLP
from training.accuracy import accuracy
from training.augmentation import Augmentation
from training.data import load_data
from training.errors import RunError, UsageError
from training.evaluation import evaluate
from training.numpy_machine import NumpyMachine
from training.optimisers import make_optimizer
from training.processes import Alone
from training.provenance import command, hardware
from training.run import Run
from training.script import _leave
from training.torch_machine import TorchMachine
from training.torchrun import Together


def machine():
    return TorchMachine(parse('train_mlp_pytorch', '--device', 'cpu'))


def data_set(n, seed=0):
    """Random images whose labels stand in order, so that the mean over chunks is not the mean over examples."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)
    return cifar10_utils.DataSet(images, np.arange(n) * 10 // n, images.mean(0, dtype=np.float32), one_hot=False)


def cross_entropy_and_accuracy(logits, labels):
    """In float64, by log-sum-exp."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return -log_p[np.arange(len(labels)), labels].mean(), (logits.argmax(1) == labels).mean()


# Evaluation


@pytest.mark.parametrize('script', SCRIPTS)
@pytest.mark.parametrize(('max_steps', 'steps'), [(5, [2, 4, 5]), (4, [2, 4]), (1, [1])])
def test_evaluates_every_eval_freq_steps_and_at_the_last(quick, data_dir, tmp_path, script, max_steps, steps):
    history = short_run(script, data_dir, tmp_path, '--max_steps', max_steps)
    assert [row['step'] for row in history] == steps


@pytest.mark.parametrize('script', SCRIPTS)
def test_figures_are_those_of_the_whole_test_set(quick, easy_data_dir, tmp_path, script):
    more = ['--label_smoothing', '0.1'] if script == 'train_mlp_pytorch' else []  # in training alone
    row = short_run(script, easy_data_dir, tmp_path, '--max_steps', 20, '--learning_rate', 1e-3, *more)[-1]
    X_train, _, X_test, labels = cifar10_utils.load_cifar10(easy_data_dir)
    x = (X_test - X_train.mean(0, dtype=np.float64)).astype(np.float32)
    weights = weights_of(tmp_path / CHECKPOINTS[script])
    if script == 'train_convnet_pytorch':
        network = convnet_pytorch.ConvNet(3, 10).double().eval()
        network.load_state_dict(weights)
        logits = network(torch.from_numpy(x).double()).detach().numpy()
    else:
        W1, b1, W2, b2 = (np.asarray(w, np.float64) for w in weights.values())
        logits = np.maximum(x.reshape(len(x), -1) @ W1.T + b1, 0) @ W2.T + b2
    loss, accuracy = cross_entropy_and_accuracy(logits, labels)
    assert row['test_accuracy'] == accuracy and accuracy > 0.1
    # Sums of 3072 float32 products of both signs err by some 1e-6 relative, and the network has two to nine of them.
    assert math.isclose(row['test_loss'], loss, rel_tol=1e-4)


@pytest.mark.parametrize('n', [1, 999, 1000, 1001, 2300])
def test_numpy_evaluation_weighs_examples_not_chunks(n):
    np.random.seed(0)
    model, data = MLP(3072, [], 10), data_set(n)
    model.linear_layers[0].params['bias'] += np.linspace(0, 3, 10)
    machine = NumpyMachine(parse('train_mlp_numpy', '--dtype', 'float64'))
    loss, accuracy = train_mlp_numpy.evaluate(model, data, machine)
    W, b = model.linear_layers[0].params.values()
    x = data.images.reshape(n, -1).astype(np.float64)
    # float64: means over n numbers in another order.
    assert (loss, accuracy) == pytest.approx(cross_entropy_and_accuracy(x @ W.T + b, data.labels), rel=1e-12)


@pytest.mark.parametrize('kind', [np.array, torch.tensor])
def test_accuracy_takes_classes_and_one_hot_rows_and_refuses_a_column(kind):
    """A column, as Keras gives labels, would be compared with each row: here that gives 1/3."""
    predictions, classes = np.eye(3), np.arange(3)
    assert accuracy(kind(predictions), kind(classes)) == accuracy(kind(predictions), kind(predictions)) == 1
    with pytest.raises(ValueError, match=r'^expected targets of shape \(3,\) or \(3, 3\), got \(3, 1\)$'):
        accuracy(kind(predictions), kind(classes[:, None]))


@pytest.mark.parametrize('of_views', [False, True])
def test_torch_evaluation_is_the_same_in_chunks_of_any_size(of_views):
    def mean_of_two(model, x):
        return (model(x) + model(x.flip(3))) / 2

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(), nn.Linear(3600, 10))
    model[-1].bias.data = torch.linspace(0, 3, 10)
    data = data_set(43)
    model(torch.from_numpy(data.images))  # running statistics other than 0 and 1
    model.eval()
    x = torch.from_numpy(data.images)
    logits = mean_of_two(model, x) if of_views else model(x)
    expected = cross_entropy_and_accuracy(logits.detach(), data.labels)
    model.train()
    for chunk in (1, 7, 42, 43, 1000):
        loss, accuracy = evaluate(model, data, machine(), chunk, mean_of_two if of_views else None)
        assert accuracy == expected[1]
        assert math.isclose(loss, expected[0], rel_tol=1e-5)  # float32


@pytest.mark.parametrize('training', [True, False])
def test_torch_evaluation_leaves_no_trace(training):
    torch.manual_seed(0)
    np.random.seed(0)
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3072), nn.Dropout(), nn.Linear(3072, 10)).train(training)
    before = torch.get_rng_state(), np.random.get_state()[1:3], {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    evaluate(model, data_set(30), machine(), chunk=7)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[2] == before[1][1] and np.array_equal(np.random.get_state()[1], before[1][0])
    assert all(torch.equal(value, before[2][name]) for name, value in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize('script', SCRIPTS)
def test_how_often_it_evaluates_changes_nothing_else(quick, data_dir, tmp_path, script):
    more = [] if 'numpy' in script else ['--augment', '--ema', '0.9']
    histories = [short_run(script, data_dir, tmp_path / f, '--eval_freq', f, *more) for f in '125']
    assert len({(h[-1]['step'], h[-1]['test_loss'], h[-1]['test_accuracy']) for h in histories}) == 1


@pytest.mark.parametrize(('max_steps', 'eval_freq'), [(5, 2), (122, 60)])  # 60: figures are read at 50 as well
@pytest.mark.parametrize('script', SCRIPTS[:2])
def test_train_figures_are_means_over_the_steps_since_the_last_row(
    quick, monkeypatch, data_dir, tmp_path, script, max_steps, eval_freq
):
    seen = []
    after_step = Run.after_step

    def seeing(self, loss, accuracy):
        seen.append((loss.item(), accuracy.item()))
        after_step(self, loss, accuracy)

    monkeypatch.setattr(Run, 'after_step', seeing)
    args = ['--max_steps', max_steps, '--eval_freq', eval_freq, '--learning_rate', 1e-4]
    history = short_run(script, data_dir, tmp_path, *args)
    parts = [seen[start : start + eval_freq] for start in range(0, max_steps, eval_freq)]
    for row, part in zip(history, parts, strict=True):
        assert (row['train_loss'], row['train_accuracy']) == pytest.approx(tuple(np.mean(part, axis=0)), rel=1e-12)


# What is recorded


@pytest.mark.parametrize('script', SCRIPTS)
def test_the_run_folder(quick, data_dir, tmp_path, script):
    out_dir = tmp_path / "it's a run"
    more = ['--seed', '7', '--validation_size', '20', *(['--dnn_hidden_units', '9,8'] if 'mlp' in script else [])]
    more += ['--dtype', 'float64'] if 'numpy' in script else ['--augment', '--label_smoothing', '0.125']
    history = short_run(script, data_dir, out_dir, *more)

    with open(out_dir / 'history.csv', newline='') as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    seconds = [row.pop('seconds') for row in rows]
    assert rows == history and seconds == sorted(seconds)
    summary = json.loads((out_dir / 'summary.json').read_text())
    assert history[-1].items() <= summary.items()
    assert summary['seconds'] > 0 and summary['peak_memory_mb'] > 10

    config = json.loads((out_dir / 'config.json').read_text())
    python, name, *args = shlex.split(config['command'])
    assert (python, name) == ('python', f'{script}.py')
    assert vars(parse(script, *args)) == config['flags']
    assert config['flags']['seed'] == 7 and config['flags']['out_dir'] == str(out_dir)
    assert {'python', 'numpy'} <= config['versions'].keys() and {'cpu', 'cores'} <= config['hardware'].keys()
    assert 'numpy' in script or config['versions']['torch'] == torch.__version__


@pytest.mark.parametrize('name, value', [('OMP_NUM_THREADS', '1'), ('OPENBLAS_CORETYPE', 'Haswell')])
def test_what_the_environment_says_of_threads_and_kernels_is_recorded(monkeypatch, name, value):
    monkeypatch.delenv(name, raising=False)
    assert name not in hardware()
    monkeypatch.setenv(name, value)
    assert hardware()[name] == value


@pytest.mark.parametrize('script', SCRIPTS)
def test_the_command_gives_back_any_flags(script):
    odd = {'out_dir': '-a b"c\'$d', 'data_dir': 'é\n', 'learning_rate': 1e-300, 'seed': 2**32 - 1, 'quiet': True}
    odd |= {'dnn_hidden_units': []} if 'mlp' in script else {}
    for name, value in odd.items():
        flags = parse(script)
        setattr(flags, name, value)
        args = shlex.split(command(flags))
        assert args[:2] == ['python', f'{script}.py'] and len(args) > 2
        assert vars(parse(script, *args[2:])) == vars(flags)
    assert command(parse(script)) == f'python {script}.py'
    assert command(parse(script), processes=2) == f'torchrun --nproc_per_node 2 {script}.py'
    flags = parse(script)
    flags.script = f'/somewhere/{script}.py'
    assert command(flags) == f'python {script}.py'


@pytest.mark.parametrize('script', ['train_mlp_numpy', 'train_convnet_pytorch'])
def test_figures_are_drawn(data_dir, tmp_path, script, monkeypatch):
    monkeypatch.setattr(convnet_pytorch, 'LAYERS', [16 if n != 'M' else n for n in convnet_pytorch.LAYERS])
    short_run(script, data_dir, tmp_path, '--validation_size', 20)
    names = ['curves'] if 'numpy' in script else ['curves', 'confusion', 'mistakes', 'filters']
    for name in names:
        assert (tmp_path / f'{name}.pdf').read_bytes().startswith(b'%PDF')
        assert (tmp_path / f'{name}.png').read_bytes().startswith(b'\x89PNG')


# Divergence


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_rate_far_too_high_is_one_line(quick, capsys, data_dir, tmp_path, script):
    # Adam's steps have the size of the learning rate, whatever the gradient, so it takes more to overflow.
    rate = ['--optimizer', 'sgd'] if 'convnet' in script else []
    rate += ['--learning_rate', '1e10', '--max_steps', '40', '--eval_freq', '1']
    status, line = failing_short_run(capsys, script, data_dir, tmp_path, *rate)
    assert status == 1 and '--learning_rate' in line and 'step' in line
    assert not (tmp_path / 'summary.json').exists()
    checkpoint = tmp_path / CHECKPOINTS[script]
    if checkpoint.exists():
        state = read_checkpoint(checkpoint)
        assert all(math.isfinite(value) for row in state['run']['rows'] for value in row.values())
        assert all(np.isfinite(np.asarray(w)).all() for w in weights_of(checkpoint).values())


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_loss_that_is_not_finite_keeps_the_last_good_state(quick, monkeypatch, capsys, data_dir, tmp_path, script):
    whole = short_run(script, data_dir, tmp_path / 'whole')
    after_step = Run.after_step
    with monkeypatch.context() as patch:
        patch.setattr(Run, 'after_step', lambda run, loss, a: after_step(run, math.nan if run.step == 4 else loss, a))
        status, line = failing_short_run(capsys, script, data_dir, tmp_path / 'run')
    assert status == 1 and 'nan' in line and 'step 5' in line and 'step 4' in line
    assert read_checkpoint(tmp_path / 'run' / CHECKPOINTS[script])['run']['step'] == 4
    assert short_run(script, data_dir, tmp_path / 'run', '--resume') == whole
    assert_same_run(tmp_path / 'run', tmp_path / 'whole')


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_test_loss_that_is_not_finite_makes_no_checkpoint(quick, monkeypatch, capsys, data_dir, tmp_path, script):
    module = importlib.import_module(script)
    calls = []
    evaluate = module.evaluate

    def then_infinite(*args, **options):
        calls.append(1)
        return evaluate(*args, **options) if len(calls) < 2 else (math.inf, 0.1)

    monkeypatch.setattr(module, 'evaluate', then_infinite)
    status, line = failing_short_run(capsys, script, data_dir, tmp_path)
    assert status == 1 and 'inf' in line and 'step 4' in line and 'step 2' in line
    assert read_checkpoint(tmp_path / CHECKPOINTS[script])['run']['step'] == 2


# Learning


@pytest.mark.parametrize(
    ('script', 'args'),
    [
        ('train_mlp_numpy', '--learning_rate 2e-3 --max_steps 200 --eval_freq 50 --dnn_hidden_units 30'),
        ('train_mlp_pytorch', '--learning_rate 2e-3 --max_steps 200 --eval_freq 50 --dnn_hidden_units 30'),
        ('train_convnet_pytorch', '--learning_rate 1e-3 --max_steps 60 --eval_freq 20 --batch_size 32'),
    ],
)
def test_learns(quick, easy_data_dir, tmp_path, script, args):
    history = short_run(script, easy_data_dir, tmp_path, *args.split())
    assert history[-1]['train_loss'] < 0.7 * history[0]['train_loss']
    assert history[-1]['test_loss'] < 0.7 * math.log(10)  # log 10 is the loss of a guess
    assert history[-1]['test_accuracy'] > 0.5


# The trajectory


def plain_sgd(raw, seed, hidden, learning_rate, max_steps, batch_size):
    """An MLP trained as the assignment's contract says, in the plainest formulas, float64 throughout."""
    X, Y, X_test, Y_test = raw
    mean = X.mean(axis=0, dtype=np.float64).astype(np.float32)
    X, X_test = ((x.astype(np.float32) - mean).astype(np.float64).reshape(len(x), -1) for x in (X, X_test))
    np.random.seed(seed)
    sizes = [3072, *hidden, 10]
    W = [np.random.normal(0, 1e-4, (n_out, n_in)) for n_in, n_out in pairwise(sizes)]
    b = [np.zeros(n) for n in sizes[1:]]
    order, index, losses = np.arange(len(X)), 0, []

    def logits(x):
        xs = [x]
        for w, c in zip(W[:-1], b[:-1], strict=True):
            xs.append(np.maximum(xs[-1] @ w.T + c, 0))
        return xs, xs[-1] @ W[-1].T + b[-1]

    for _ in range(max_steps):
        if index + batch_size > len(X):
            perm = np.arange(len(X))
            np.random.shuffle(perm)
            order, index = order[perm], 0
        rows = order[index : index + batch_size]
        index += batch_size
        xs, z = logits(X[rows])
        e = np.exp(z - z.max(1, keepdims=True))
        d = (e / e.sum(1, keepdims=True) - np.eye(10)[Y[rows]]) / batch_size
        losses.append(cross_entropy_and_accuracy(z, Y[rows])[0])
        for i in reversed(range(len(W))):
            dW, db = d.T @ xs[i], d.sum(0)
            d = (d @ W[i]) * (xs[i] > 0)
            W[i] = W[i] - learning_rate * dW
            b[i] = b[i] - learning_rate * db
    return W, b, losses, cross_entropy_and_accuracy(logits(X_test)[1], Y_test)


@pytest.mark.parametrize('hidden', [[], [12], [12, 7]])
@pytest.mark.parametrize('seed', [42, 3])
def test_the_trajectory_is_the_one_of_the_contract(quick, easy_data_dir, tmp_path, hidden, seed):
    # 300 images in batches of 70: four steps, a rest of 20 that is dropped, and a permutation before the fifth.
    units = ','.join(map(str, hidden))
    args = f'--dtype float64 --seed {seed} --max_steps 40 --eval_freq 1 --batch_size 70 --learning_rate 3e-3'.split()
    history = short_run('train_mlp_numpy', easy_data_dir, tmp_path, *args, f'--dnn_hidden_units={units}')
    W, b, losses, test = plain_sgd(cifar10_utils.load_cifar10(easy_data_dir), seed, hidden, 3e-3, 40, 70)
    # Both are float64 (1e-16): sums in another order, 40 steps of them, leave far less than 1e-12.
    np.testing.assert_allclose([row['train_loss'] for row in history], losses, rtol=1e-12)
    np.testing.assert_allclose((history[-1]['test_loss'], history[-1]['test_accuracy']), test, rtol=1e-12)
    state = weights_of(tmp_path / 'checkpoint.npz')
    for i, (w, c) in enumerate(zip(W, b, strict=True)):
        for actual, expected in [(state[f'layer{i}.weight'], w), (state[f'layer{i}.bias'], c)]:
            np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    assert abs(losses[-1] - losses[0]) > 1e-6  # it went somewhere


def test_both_mlps_have_the_same_history_by_default(quick, easy_data_dir, tmp_path):
    histories = []
    for script in SCRIPTS[:2]:
        args = ['--max_steps', '60', '--eval_freq', '10', '--data_dir', easy_data_dir, '--out_dir', tmp_path / script]
        flags = parse(script, *args, '--quiet')
        histories.append(importlib.import_module(script).train(flags))
    numpy, torch = ({name: [row[name] for row in history] for name in history[0]} for history in histories)
    assert numpy['step'] == torch['step']
    assert numpy['train_loss'][-1] < 0.9 * numpy['train_loss'][0]
    for name in ('train_loss', 'test_loss'):
        # float32, 6e-8: sums of 3072 products in another order differ by some 1e-6, and 60 steps of descent may
        # amplify that; other weights or batches would differ by 1e-2.
        np.testing.assert_allclose(torch[name], numpy[name], rtol=1e-4)
    for name in ('train_accuracy', 'test_accuracy'):
        np.testing.assert_allclose(torch[name], numpy[name], atol=1 / 60)  # an image on the border, out of 60


# Several processes


def ranks(n):
    """The machines of n processes, as far as the order of batches and augmentation ask them."""
    processes = [SimpleNamespace(rank=rank, world_size=n) for rank in range(n)]
    return [SimpleNamespace(processes=one, device=torch.device('cpu')) for one in processes]


def test_together_the_processes_see_each_example_once_an_epoch():
    parts = []
    for one in ranks(3):
        np.random.seed(1)
        data = cifar10_utils.DataSet(
            np.broadcast_to(np.arange(60, dtype=np.uint8)[:, None, None, None], (60, 3, 32, 32)),
            np.arange(60) % 10,
            np.zeros((3, 32, 32), np.float32),
        )
        parts.append(
            [data.next_batch(12, one.processes.rank, one.processes.world_size)[0][:, 0, 0, 0] for _ in range(15)]
        )
    for epoch in range(3):
        seen = np.concatenate([batch for part in parts for batch in part[5 * epoch : 5 * epoch + 5]])
        assert sorted(seen) == list(range(60))


@pytest.mark.parametrize('options', [{}, {'cutout': 8}, {'border': 'reflect'}])
def test_the_processes_augment_the_batch_of_a_single_one(options):
    x = torch.randn(12, 3, 32, 32)

    def augmented(rows, machine):
        return Augmentation(5, machine, **options)(rows)

    whole = augmented(x, ranks(1)[0])
    for n in (2, 3):
        for one in ranks(n):
            assert torch.equal(augmented(x[one.processes.rank :: n], one), whole[one.processes.rank :: n])
    assert not torch.equal(whole, x)


@pytest.mark.parametrize('script', SCRIPTS[1:])
def test_a_batch_that_the_processes_cannot_share(quick, monkeypatch, capsys, data_dir, tmp_path, script):
    monkeypatch.setenv('WORLD_SIZE', '3')
    monkeypatch.setenv('RANK', '0')
    status, line = failing_short_run(capsys, script, data_dir, tmp_path / 'run')
    assert status == 2 and '--batch_size' in line and '3' in line
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('augment', [[], ['--augment', '--validation_size', '33', '--ema', '0.5']])
def test_two_processes_train_as_one(quick, easy_data_dir, tmp_path, augment):
    args = '--max_steps 20 --eval_freq 10 --batch_size 60 --learning_rate 2e-5 --dnn_hidden_units 20 --momentum 0.9'
    args = [*args.split(), '--init', 'kaiming', '--data_dir', str(easy_data_dir), *augment]
    processes = together(2, 'train_mlp_pytorch', *args, '--out_dir', tmp_path / 'two')
    assert [process.wait() for process in processes] == [0, 0], processes[0].err
    told = [[line.split()[1] for line in process.out.splitlines() if line.startswith('step')] for process in processes]
    assert told == [['10', '20'], []]

    one = importlib.import_module('train_mlp_pytorch').train(
        parse('train_mlp_pytorch', *args, '--out_dir', tmp_path / 'one', '--quiet')
    )
    two = read_checkpoint(tmp_path / 'two' / 'checkpoint.pt')
    assert json.loads((tmp_path / 'two' / 'summary.json').read_text())['step'] == 20
    for row, other in zip(one, two['run']['rows'], strict=True):
        # float32 (6e-8): the gradient is a mean of two means, and 20 steps of training amplify its rounding.
        assert row == pytest.approx(other, rel=1e-4)
    expected = read_checkpoint(tmp_path / 'one' / 'checkpoint.pt')
    for part in ('model', 'ema')[: 2 if augment else 1]:
        for name, value in expected[part].items():
            assert (two[part][name] - value).float().norm() <= 1e-5 * value.float().norm(), name


class Averaged(torch.nn.Module):
    """What a machine of several processes makes of a model; counts the training batches that go through it."""

    def __init__(self, model):
        super().__init__()
        self.module, self.batches = model, 0

    def forward(self, x):
        self.batches += self.training
        return self.module(x)


@pytest.mark.parametrize('script', [*SCRIPTS[1:], 'experiments.best_mlp', 'experiments.best_convnet'])
def test_every_script_trains_the_network_that_averages_over_the_processes(
    quick, monkeypatch, data_dir, tmp_path, script
):
    networks = []
    monkeypatch.setattr(Alone, 'parallel', lambda self, model: networks.append(Averaged(model)) or networks[0])
    args = ['--max_steps', 3, '--batch_size', 10, '--data_dir', data_dir, '--out_dir', tmp_path, '--quiet']
    narrow = ['--dnn_hidden_units', 8] if 'mlp' in script else []
    narrow += ['--whiten', 0] if 'best_mlp' in script else []
    importlib.import_module(script).train(parse(script, *args, *narrow))
    assert [network.batches for network in networks] == [3]


@pytest.mark.parametrize('status', [0, 1])
def test_one_of_several_processes_ends_before_gloo_can_abort_it(status):
    """A thread of gloo that drops a tensor while Python ends aborts it, once in many runs; so Python does not end.

    What was printed is there all the same. A process that failed does not take the group down: nccl would wait for the
    others.
    """
    program = """if True:
        import atexit, sys, torch.distributed as dist, training.script
        atexit.register(print, 'Python ends')
        dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
        dist.destroy_process_group = lambda: print('group ends')
        print('result')
        training.script._leave(int(sys.argv[1]))
    """
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONUNBUFFERED'}
    command = [sys.executable, '-c', program, str(status)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    last = '' if status else 'group ends\n'
    assert (result.returncode, result.stdout) == (status, f'result\n{last}'), result.stderr
    with pytest.raises(SystemExit, match=str(status)):
        _leave(status)  # one process alone ends as any other


@pytest.mark.parametrize('local_rank', ['0', '1'])
def test_processes_that_outnumber_the_gpus_all_compute_on_the_cpu(monkeypatch, local_rank):
    monkeypatch.setattr('torch.cuda.device_count', lambda: 1)
    monkeypatch.setattr('torch.backends.mps.is_available', lambda: False)
    monkeypatch.setenv('LOCAL_RANK', local_rank)
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '2')
    assert TorchMachine(parse('train_mlp_pytorch')).device.type == 'cpu'
    with pytest.raises(UsageError, match='--device cuda'):
        TorchMachine(parse('train_mlp_pytorch', '--device', 'cuda'))


def test_processes_that_have_read_different_checkpoints_do_not_train(monkeypatch):
    Alone().check_same_step(2**24 + 1)
    monkeypatch.setenv('WORLD_SIZE', '2')
    both = Together()
    monkeypatch.setattr(
        'torch.distributed.all_gather_object', lambda steps, mine: steps.__setitem__(slice(2), [4, mine])
    )
    both.check_same_step(4)
    with pytest.raises(RunError, match='--out_dir'):
        both.check_same_step(2)


@pytest.mark.parametrize('rank', [0, 1])
def test_each_process_knows_whether_there_is_anything_left_to_do(quick, monkeypatch, data_dir, tmp_path, rank):
    """The last figures of the ConvNet are computed by all processes or by none."""
    short_run('train_mlp_pytorch', data_dir, tmp_path)
    monkeypatch.setattr('training.checkpoints.Checkpoints.restore', lambda self: True)
    paths = ['--data_dir', data_dir, '--out_dir', tmp_path]
    for flag, finished in [('--resume', True), ('--overwrite', False)]:
        flags = parse('train_mlp_pytorch', *SHORT['train_mlp_pytorch'].split(), *paths, flag, '--precision', 'fp32')
        one = TorchMachine(flags)
        one.processes.rank = rank
        with Run(flags, one, load_data(flags), evaluate=None) as run:
            assert run.finished == finished


def test_the_moving_average_is_that_of_the_weights_after_each_step(quick, data_dir, tmp_path):
    states = []
    for steps in (1, 2, 3):
        short_run('train_mlp_pytorch', data_dir, tmp_path / str(steps), '--max_steps', steps, '--ema', '0.75')
        states.append(read_checkpoint(tmp_path / str(steps) / 'checkpoint.pt'))
    for name, first in states[0]['model'].items():
        second, third = (state['model'][name] for state in states[1:])
        expected = 0.75 * (0.75 * first + 0.25 * second) + 0.25 * third
        # float32: weights of 1e-4 and biases of 1e-3 are rounded by 1e-10 at most; a step moves the latter by 1e-4.
        torch.testing.assert_close(states[2]['ema'][f'module.{name}'], expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize('name', ['sgd', 'adam', 'adamw'])
def test_the_optimizer_has_the_rate_and_the_decay_of_the_flags(name):
    for decay in (0, 0.25):
        flags = parse('train_mlp_pytorch', '--optimizer', name, '--learning_rate', 0.5, '--weight_decay', decay)
        (group,) = make_optimizer(flags, nn.Linear(2, 2)).param_groups
        assert (group['lr'], group['weight_decay']) == (0.5, decay)


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('name', ['SGD', 'Adam', 'AdamW'])
def test_filters_move_as_by_torchs_plain_optimizer(name, memory_format):
    """However they lie in memory; those without a gradient stay."""
    flags = parse('train_convnet_pytorch', '--optimizer', name, '--learning_rate', 1e-3, '--weight_decay', 0.1)
    ours = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 4, 3)).double().to(memory_format=memory_format)
    theirs = copy.deepcopy(ours)
    strides = [p.stride() for p in ours.parameters()]
    plain = getattr(torch.optim, name)(theirs.parameters(), lr=1e-3, weight_decay=0.1)
    optimizer = make_optimizer(flags, ours)
    for step in range(3):
        for model, rule in (ours, optimizer), (theirs, plain):
            torch.manual_seed(step)
            rule.zero_grad()
            model[0](torch.randn(5, 2, 6, 6, dtype=torch.float64)).square().sum().backward()
            rule.step()
    assert [p.stride() for p in ours.parameters()] == strides
    for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True):
        # Weights and steps of size 1 at most, rounded some ten times by 1e-16 of that in each of three steps.
        torch.testing.assert_close(mine, its, rtol=0, atol=1e-14)


@pytest.mark.parametrize('name', ['sgd', 'adam', 'adamw'])
def test_a_step_copies_no_gradient_of_filters_that_lie_channels_last(name):
    layer = nn.Conv2d(8, 8, 3).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(parse('train_convnet_pytorch', '--optimizer', name), layer)
    for p in layer.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()  # makes its state
    with torch.autograd.profiler.profile() as profile:
        optimizer.step()
    assert 'aten::clone' not in {event.name for event in profile.function_events}


@pytest.mark.parametrize('script', SCRIPTS[1:])
@pytest.mark.parametrize('length', ['--max_steps 5', '--epochs 1'])
def test_a_cosine_ends_at_zero_with_the_last_step(quick, data_dir, tmp_path, script, length):
    short_run(script, data_dir, tmp_path, '--lr_schedule', 'cosine', *length.split())
    (group,) = read_checkpoint(tmp_path / 'checkpoint.pt')['optimizer']['param_groups']
    assert group['lr'] == pytest.approx(0, abs=1e-12)


def test_the_rate_leaves_the_evaluations_out(quick, monkeypatch, data_dir, tmp_path):
    """By a clock on which a step takes a second and an evaluation a hundred."""
    now = [1.0]

    def slow(function, seconds):
        def slowed(*args):
            now[0] += seconds
            return function(*args)

        return slowed

    monkeypatch.setattr('time.perf_counter', lambda: now[0])
    monkeypatch.setattr(Run, 'after_step', slow(Run.after_step, 1))
    monkeypatch.setattr(train_mlp_numpy, 'evaluate', slow(train_mlp_numpy.evaluate, 100))
    short_run('train_mlp_numpy', data_dir, tmp_path)  # batches of 50
    assert json.loads((tmp_path / 'summary.json').read_text())['images_per_second'] == 50


def test_each_process_drops_other_units(monkeypatch):
    monkeypatch.setattr(nn.parallel, 'DistributedDataParallel', lambda model: model)
    drawn = []
    for rank in range(2):
        monkeypatch.setenv('WORLD_SIZE', '2')
        monkeypatch.setenv('RANK', str(rank))
        torch.manual_seed(42)
        Together().parallel(nn.Sequential(nn.Flatten(), nn.Linear(3072, 1)))
        drawn.append(torch.rand(3))
    assert not torch.equal(*drawn)
