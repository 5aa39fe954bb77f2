"""On a GPU the scripts learn what they learn on a CPU, and repeat themselves to the last bit. Skipped where none is."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, SHORT, assert_same_run, process
from test_resume import EVERYTHING

WITH_GPUS = {name: value for name, value in os.environ.items() if name != 'CUDA_VISIBLE_DEVICES'}


def run(*words):
    """What a command prints on a machine with its GPUs; it must succeed."""
    command = [sys.executable, *map(str, words)]
    result = subprocess.run(command, cwd=ROOT, env=WITH_GPUS, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


pytestmark = pytest.mark.skipif(
    not shutil.which('nvidia-smi') or run('-c', 'import torch; print(torch.cuda.device_count())') == '0\n',
    reason='no CUDA GPU is here',
)
scripts = pytest.mark.parametrize('script', ['train_mlp_pytorch', 'train_convnet_pytorch'])


def arguments(script, data_dir, out_dir, *flags):
    return [f'{script}.py', *SHORT[script].split(), '--data_dir', data_dir, '--out_dir', out_dir, '--quiet', *flags]


def losses(folder):
    with open(folder / 'history.csv') as file:
        return [[float(row['train_loss']), float(row['test_loss'])] for row in csv.DictReader(file)]


@pytest.mark.parametrize('kind', ['--optimizer sgd', EVERYTHING])
@pytest.mark.parametrize(
    ('script', 'start'),
    [('train_mlp_pytorch', '--init kaiming --learning_rate 0.1'), ('train_convnet_pytorch', '--learning_rate 0.003')],
)
def test_a_gpu_learns_what_a_cpu_learns(data_dir, tmp_path, script, start, kind):
    steps = '--max_steps 3 --eval_freq 1 --batch_size 170'
    flags = f'{kind} {start} {steps} --standardize --precision fp32 --device'.split()
    for device in ('cpu', 'cuda'):
        run(*arguments(script, data_dir, tmp_path / device, *flags, device))
    # The three steps change the loss by 2 % and more, another order of the sums (two threads for one) by 0.014 % at
    # most, where batch normalisation divides by the deviation of many images: with 8 at a time, by 2 %. Not so with
    # Adam, whose first steps follow the sign of a gradient, be it one of rounding.
    np.testing.assert_allclose(losses(tmp_path / 'cuda'), losses(tmp_path / 'cpu'), rtol=1e-3)


def test_muon_moves_a_gpu_as_it_moves_a_cpu(data_dir, tmp_path):
    steps = '--max_steps 3 --eval_freq 1 --batch_size 170 --learning_rate 0.003'
    for device in ('cpu', 'cuda'):
        flags = f'{steps} --precision fp32 --device {device} --data_dir {data_dir} --out_dir {tmp_path / device}'
        run('experiments/best_convnet.py', *flags.split())
    np.testing.assert_allclose(losses(tmp_path / 'cuda'), losses(tmp_path / 'cpu'), rtol=1e-3)  # as above


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
@scripts
def test_a_run_takes_the_gpu_by_default_and_resumes_to_the_same_bits(data_dir, tmp_path, script, precision):
    flags = ['--max_steps', 200, '--eval_freq', 20, '--precision', precision, *EVERYTHING.split()]
    flags += ['--dropout', 0.5, '--batch_norm', 'torch'] if 'mlp' in script else []
    command = map(str, [sys.executable, *arguments(script, data_dir, tmp_path / 'killed', *flags)])
    with subprocess.Popen(list(command), cwd=ROOT, env=WITH_GPUS) as running:
        while not (tmp_path / 'killed' / 'checkpoint.pt').exists():
            assert running.poll() is None
            time.sleep(0.005)
        running.send_signal(signal.SIGKILL)
    run(*arguments(script, data_dir, tmp_path / 'killed', *flags, '--resume'))
    run(*arguments(script, data_dir, tmp_path / 'whole', *flags))
    assert json.loads((tmp_path / 'whole' / 'config.json').read_text())['compute']['device'] == 'cuda'
    assert_same_run(tmp_path / 'killed', tmp_path / 'whole')


@scripts
def test_what_a_gpu_has_learnt_names_pictures_on_a_cpu(data_dir, tmp_path, script):
    run(*arguments(script, data_dir, tmp_path / 'run', '--device', 'cuda'))
    answer = process('predict', ROOT / 'docs' / 'flops.png', '--checkpoint', tmp_path / 'run')
    assert answer.returncode == 0 and 'flops.png:' in answer.stdout


@pytest.mark.parametrize('name', ['CustomBatchNormAutograd', 'CustomBatchNormManualModule'])
def test_the_gradients_of_our_batch_norm(name):
    program = f"""if True:
        import torch, custom_batchnorm
        x = torch.randn(6, 4, dtype=torch.float64, device='cuda', requires_grad=True)
        torch.autograd.gradcheck(custom_batchnorm.{name}(4).to(x), x)
    """
    run('-c', program)


def test_a_speedrun_repeats_itself(tmp_path):
    common = ['experiments/speedrun.py', '--dataset', 'shapes10', '--epochs', 0.5, '--quiet', '--out_dir']
    for name in ('first', 'second'):
        run(*common, tmp_path / name)
    first, second = (losses(tmp_path / name) for name in ('first', 'second'))
    assert first == second
    assert json.loads((tmp_path / 'first' / 'config.json').read_text())['compute']['device'] == 'cuda'
