"""What benchmarks/device.py counts and benchmarks/gpu.py times, with tiny settings on a CPU."""

import runpy
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT

import train_mlp_pytorch

sys.path.insert(0, str(ROOT / 'benchmarks'))
import device
import gpu

CPU = torch.device('cpu')


def flags_of(data_dir, *more):
    argv = ['--data_dir', str(data_dir), '--batch_size', '10', '--device', 'cpu', *more]
    return train_mlp_pytorch.parse_flags(argv)


def test_reads_and_operators_are_counted_and_views_are_not():
    x = torch.ones(2, 3)
    with device.Counter() as counter:
        (x.T.contiguous() + 1).sum().item()  # a copy, a sum, another, and a read
        x.numpy(), x.tolist(), x.cpu()
    assert (counter.reads, counter.operators) == (4, 3)
    x.numpy()
    assert counter.reads == 4


def test_a_run_is_watched_for_some_steps_and_leaves_nothing(quick, data_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen, after_step = [], device.Run.after_step
    monkeypatch.setattr(device.Run, 'after_step', lambda run, *args: [after_step(run, *args), seen.append(run.step)])
    device.between(
        train_mlp_pytorch, flags_of(data_dir), lambda: seen.append('begin'), lambda: seen.append('end'), 2, 3
    )
    assert seen == [1, 2, 'begin', 3, 4, 5, 'end']
    assert not list(tmp_path.iterdir())


def test_our_loop_reads_once_where_the_tutorials_read_at_each_step(quick, data_dir, monkeypatch):
    argv = ['--data_dir', str(data_dir), '--batch_size', '10', '--device', 'cpu']
    reads, operators = device.counts_of(train_mlp_pytorch, argv)
    assert reads == 1 and operators / device.STEPS < 60
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)
    monkeypatch.setattr(device, 'shapes10', lambda: (images, np.arange(20) % 10))
    monkeypatch.setattr(device, 'STEPS', 3)
    monkeypatch.setattr(device, 'FIRST', 1)
    reads, operators = device.counts_of_tutorial(CPU)
    assert reads >= 2 * 3 and operators > 0


def at(monkeypatch, *seconds):
    """Has the benchmark's clock show these."""
    shown = iter(map(float, seconds))
    monkeypatch.setattr(gpu, 'now', lambda where: next(shown))


def test_a_rate_is_that_of_the_steps_between(quick, monkeypatch, data_dir):
    at(monkeypatch, 4, 8)
    assert gpu.rate(train_mlp_pytorch, flags_of(data_dir), CPU, 2, 6) == 10 * 6 / 4


def test_the_time_of_training_leaves_the_last_evaluation_out(quick, monkeypatch, data_dir):
    at(monkeypatch, 10, 17)
    flags = flags_of(data_dir, '--max_steps', '3', '--eval_freq', '5')
    assert gpu.training_seconds(train_mlp_pytorch, flags, CPU) == 7


def test_the_tutorials_rate(quick, monkeypatch):
    at(monkeypatch, 10, 12)
    images = np.zeros((20, 3, 32, 32), np.uint8)
    assert gpu.tutorial_rate(images, np.arange(20) % 10, 4, CPU, 2, 3, workers=0) == 4 * 3 / 2


def test_flops_of_a_training_step_are_three_times_those_of_forward_but_for_the_first_layers_input():
    # Table 1 at 32 x 32: pairs of channels times positions of the output, nine products each, and a linear layer.
    layers = [(3 * 64, 32), (64 * 128, 16), (128 * 256, 8), (256 * 256, 8), (256 * 512, 4), (512 * 512, 4)]
    forward = sum(2 * 9 * pairs * side**2 for pairs, side in [*layers, (512 * 512, 2), (512 * 512, 2)]) + 2 * 512 * 10
    assert gpu.training_flops(32) == 3 * forward - 2 * 9 * 3 * 64 * 32**2


def test_without_a_gpu_it_says_so_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    monkeypatch.setattr(sys, 'argv', ['gpu.py'])
    gpu.main(gpu.parse_flags())
    assert capsys.readouterr().out.count('\n') == 1


def test_the_runs_of_the_gpu_benchmark_read_the_same_data_wherever_they_start(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    given = ['--data_dir', 'mine', '--validation_size', '7', '--data_url', 'https://example.org/x']
    monkeypatch.setattr(sys, 'argv', ['gpu.py', *given])
    words = gpu.data_argv(gpu.parse_flags())
    flags = train_mlp_pytorch.parse_flags(words)
    assert flags.data_dir == str(tmp_path / 'mine')
    assert (flags.validation_size, flags.data_url) == (7, 'https://example.org/x')
    monkeypatch.setattr(sys, 'argv', ['gpu.py', '--dataset', 'shapes10'])
    flags = train_mlp_pytorch.parse_flags(gpu.data_argv(gpu.parse_flags()))
    assert (flags.dataset, flags.data_url) == ('shapes10', None)


@pytest.mark.parametrize('name', ['device', 'convnet'])
def test_a_benchmark_that_cannot_run_says_so_in_one_line(monkeypatch, capsys, name):
    monkeypatch.setenv('WORLD_SIZE', 'x')
    monkeypatch.setattr(sys, 'argv', [f'{name}.py'])
    with pytest.raises(SystemExit) as exit:
        runpy.run_path(str(ROOT / 'benchmarks' / f'{name}.py'), run_name='__main__')
    error = capsys.readouterr().err
    assert exit.value.code == 2 and error.startswith(f'{name}.py: WORLD_SIZE') and error.count('\n') == 1
