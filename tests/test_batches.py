"""Batches on the device have the bits of DataSet, and the device is not asked for a figure at every step."""

import math
import signal

import numpy as np
import pytest
import torch
from conftest import CHECKPOINTS, SCRIPTS, failing_short_run, read_checkpoint, short_run
from test_resume import before_step
from torch.utils._python_dispatch import TorchDispatchMode

from cifar10_utils import make_data_sets
from training import batches
from training.batches import Resident
from training.run import Run
from training.torch_machine import READ_EVERY

CPU = torch.device('cpu')


@pytest.fixture
def data(request):
    """50 training and 20 test images, the training images divided by their deviation where a test asks for it."""
    rng = np.random.default_rng(3)
    images, labels = rng.integers(0, 256, (70, 3, 32, 32), dtype=np.uint8), np.arange(70) % 10
    return make_data_sets(images[:50], labels[:50], images[50:], labels[50:], False, standardize=request.param)


either_way = pytest.mark.parametrize('data', [False, True], indirect=True)


@either_way
@pytest.mark.parametrize(('rank', 'world_size'), [(0, 1), (1, 3)])
def test_a_batch_on_the_device_has_the_bits_of_data_set(data, rank, world_size):
    train, resident, batches = data['train'], Resident(data['train'], CPU), []
    place = train.state_dict()
    np.random.seed(0)
    for _ in range(12):  # three epochs, two of them in an order that is drawn
        x, y = resident.at(train.next_rows(15, rank, world_size))
        assert x.dtype == torch.float32 and y.dtype == torch.int64
        batches.append((x.numpy(), y.numpy()))
    train.load_state_dict(place)
    np.random.seed(0)
    for x, y in batches:
        expected_x, expected_y = train.next_batch(15, rank, world_size)
        assert x.tobytes() == expected_x.tobytes() and np.array_equal(y, expected_y)


@either_way
def test_chunks_on_the_device_have_the_bits_of_data_set(data):
    test = data['test']
    for rows, (expected_x, expected_y) in zip(test.chunk_rows(7), test.chunks(7), strict=True):
        x, y = Resident(test, CPU).at(rows)
        assert x.numpy().tobytes() == expected_x.tobytes() and np.array_equal(y.numpy(), expected_y)


@either_way
def test_a_cpu_has_the_images_once(data):
    resident, (images, labels) = Resident(data['train'], CPU), data['train'].raw
    assert np.shares_memory(resident.images.numpy(), images) and np.shares_memory(resident.labels.numpy(), labels)
    before = images.copy()
    resident.at(slice(0, 10))[0].zero_()
    assert np.array_equal(images, before)


def test_images_that_nobody_may_write_to_are_taken_all_the_same():
    images = np.broadcast_to(np.arange(4, dtype=np.uint8)[:, None, None, None], (4, 3, 32, 32))[::-1]
    labels = np.arange(4)
    labels.flags.writeable = False
    data_set = make_data_sets(images, labels, images, labels, False)['test']
    assert Resident(data_set, CPU).at(np.array([0, 2]))[0].numpy().tobytes() == data_set.images[[0, 2]].tobytes()


@either_way
def test_images_that_do_not_fit_on_a_gpu_stay_where_they_are(monkeypatch, capsys, data):
    images = torch.from_numpy(data['train'].raw[0])
    free = [2 * images.nbytes - 2]
    monkeypatch.setattr('torch.cuda.mem_get_info', lambda device: (free[0], 10 * free[0]))
    assert batches.place(images, torch.device('cuda', 1)) is images
    line = capsys.readouterr().err
    assert line.count('\n') == 1 and 'cuda:1' in line and 'main memory' in line
    free[0] += 2
    with pytest.raises((AssertionError, RuntimeError)):  # now they are sent, but there is no GPU here
        batches.place(images, torch.device('cuda', 1))


@either_way
def test_batches_of_images_that_have_stayed_are_sent(monkeypatch, data):
    monkeypatch.setattr(batches, 'place', lambda images, device: images)
    resident = Resident(data['train'], torch.device('meta'))
    assert resident.images.device == resident.labels.device == CPU
    for rows in (np.array([4, 2, 3]), slice(0, 3)):
        x, y = resident.at(rows)
        assert x.device.type == y.device.type == 'meta' and x.shape == (3, 3, 32, 32) and x.dtype == torch.float32


class Reads(TorchDispatchMode):
    """Counts what the host reads of tensors: scalars here, whole tensors in `also`."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))

    def also(self, original):
        def counted(*args, **kwargs):
            self.count += 1
            return original(*args, **kwargs)

        return counted


@pytest.mark.parametrize('augment', [[], ['--augment']])
@pytest.mark.parametrize('script', SCRIPTS[1:])
def test_the_host_reads_once_in_fifty_steps(quick, monkeypatch, data_dir, tmp_path, script, augment):
    reads, after, after_step = Reads(), [], Run.after_step
    for name in ('tolist', 'numpy', 'cpu'):
        monkeypatch.setattr(torch.Tensor, name, reads.also(getattr(torch.Tensor, name)))

    def noting(*args):
        after_step(*args)
        after.append(reads.count)

    monkeypatch.setattr(Run, 'after_step', noting)
    with reads:
        short_run(script, data_dir, tmp_path, '--max_steps', 111, '--eval_freq', 200, *augment)
    in_fifty = [later - before for before, later in zip(after, after[50:-1], strict=False)]
    assert len(in_fifty) == 60 and set(in_fifty) == {1}


def test_what_is_not_read_yet_keeps_no_graph(quick, monkeypatch, data_dir, tmp_path):
    kept, after_step = [], Run.after_step

    def looking(self, *args):
        after_step(self, *args)
        kept.extend(figure for pair in self.measured.unread for figure in pair)

    monkeypatch.setattr(Run, 'after_step', looking)
    short_run('train_mlp_pytorch', data_dir, tmp_path, '--eval_freq', 5)
    assert kept and not any(figure.requires_grad for figure in kept)


def not_finite_at(monkeypatch, step):
    after_step = Run.after_step
    monkeypatch.setattr(
        Run, 'after_step', lambda run, loss, a: after_step(run, math.inf if run.step == step - 1 else loss, a)
    )


@pytest.mark.parametrize('step', [7, READ_EVERY, READ_EVERY + 1])
@pytest.mark.parametrize('script', SCRIPTS[:2])
def test_a_loss_that_is_not_finite_is_told_of_with_its_own_step(
    quick, monkeypatch, capsys, data_dir, tmp_path, script, step
):
    """However much later it is read: at step 50, or before the evaluation of step 60."""
    not_finite_at(monkeypatch, step)
    status, line = failing_short_run(capsys, script, data_dir, tmp_path, '--max_steps', 60, '--eval_freq', 60)
    assert status == 1 and f'the loss is inf at step {step}:' in line and 'no checkpoint' in line
    assert not (tmp_path / CHECKPOINTS[script]).exists()


def test_a_signal_saves_nothing_after_a_loss_that_is_not_finite(quick, monkeypatch, capsys, data_dir, tmp_path):
    not_finite_at(monkeypatch, 7)
    before_step(monkeypatch, 9, lambda: signal.raise_signal(signal.SIGTERM))
    args = ['--max_steps', 20, '--eval_freq', 5]
    status, line = failing_short_run(capsys, 'train_mlp_pytorch', data_dir, tmp_path, *args)
    assert status == 1 and 'at step 7:' in line and 'checkpoint of step 5' in line
    assert read_checkpoint(tmp_path / 'checkpoint.pt')['run']['step'] == 5
