"""Where people run it: notebooks, clusters, other shells, file systems of all kinds, with their own networks."""

import ast
import contextlib
import errno
import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from conftest import (
    CHECKPOINTS,
    ROOT,
    SCRIPTS,
    SHORT,
    assert_same_run,
    failing_run,
    failing_short_run,
    parse,
    process,
    read_checkpoint,
    short_run,
)
from test_resume import before_step, interrupted_run
from torch import nn

from data import download
from training.errors import Interrupted
from training.run import Run

# A finished run is never lost to something optional


@pytest.mark.parametrize(
    ('variable', 'value'),
    [
        ('MPLBACKEND', 'module://matplotlib_inline.backend_inline'),  # what a Jupyter kernel exports
        ('MPLBACKEND', 'no such backend'),
        ('MATPLOTLIBRC', 'text.usetex: True\nbackend: TkAgg\n'),
        ('MATPLOTLIBRC', 'font.family: No Such Font\nsavefig.format: nonsense\n'),
    ],
)
def test_figures_depend_on_no_setting_of_the_users(data_dir, tmp_path, variable, value):
    if variable == 'MATPLOTLIBRC':
        (tmp_path / 'matplotlibrc').write_text(value)
        value = str(tmp_path)
    args = [*SHORT['train_mlp_numpy'].split(), '--data_dir', data_dir, '--out_dir', tmp_path / 'run', '--quiet']
    result = process('train_mlp_numpy', *args, env=os.environ | {variable: value})
    assert (result.returncode, result.stdout) == (0, '')
    assert 'no picture' not in result.stderr and 'Traceback' not in result.stderr
    assert (tmp_path / 'run' / 'curves.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize('script', ['train_mlp_numpy', 'train_convnet_pytorch'])
def test_a_picture_that_cannot_be_drawn_costs_a_line(monkeypatch, capsys, data_dir, tmp_path, script):
    monkeypatch.setattr('convnet_pytorch.LAYERS', [4, 'M', 8, 'M', 'M', 'M', 'M'])
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    history = short_run(script, data_dir, tmp_path)
    out, err = capsys.readouterr()
    pictures = 1 if 'numpy' in script else 3
    assert err.count('\n') == err.count('no picture of the ') == pictures and 'matplotlib' in err
    assert 'curves.png' not in out and str(tmp_path) in out
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert history[-1].items() <= summary.items()
    assert ('class_accuracy' in summary) == ('convnet' in script)
    assert short_run(script, data_dir, tmp_path, '--resume') == history


def test_a_disk_that_fills_up_with_the_last_pictures(monkeypatch, capsys, data_dir, tmp_path):
    write = os.replace

    def full(source, target):
        if 'curves' in str(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(source, target)

    monkeypatch.setattr(os, 'replace', full)
    short_run('train_mlp_numpy', data_dir, tmp_path, '--quiet')
    out, err = capsys.readouterr()
    assert out == '' and err.count('\n') == 1 and 'No space left on device' in err
    assert (tmp_path / 'summary.json').exists() and not list(tmp_path.glob('*.part'))


@pytest.mark.parametrize('channels_first', [True, False])
def test_a_network_of_ones_own(monkeypatch, data_dir, tmp_path, channels_first):
    """The first filters are found wherever they are, and left out where they are no colours."""

    class Own(nn.Module):
        def __init__(self, n_channels, n_classes):
            super().__init__()
            first = nn.Identity() if channels_first else nn.Conv2d(n_channels, 4, 1)
            self.body = nn.Sequential(first, nn.Conv2d(n_channels if channels_first else 4, 6, 5, stride=4), nn.ReLU())
            self.head = nn.Linear(6 * 7 * 7, n_classes)
            if not channels_first:
                self.body[0] = nn.PixelUnshuffle(2)
                self.body[1] = nn.Conv2d(12, 6, 4, stride=2)

        def forward(self, x):
            return self.head(self.body(x).flatten(1))

    monkeypatch.setattr('train_convnet_pytorch.ConvNet', Own)
    short_run('train_convnet_pytorch', data_dir, tmp_path)
    assert (tmp_path / 'summary.json').exists()
    assert (tmp_path / 'filters.png').exists() == channels_first


@pytest.mark.parametrize('script', SCRIPTS[1:])
def test_tensorboard_without_the_package(quick, monkeypatch, capsys, data_dir, tmp_path, script):
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    status, line = failing_short_run(capsys, script, data_dir, tmp_path / 'run', '--tensorboard')
    assert status == 2 and 'pip install tensorboard' in line
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
    ('script', 'package', 'remedy'),
    [
        ('experiments/ladder.py', 'optuna', '-r requirements-dev.txt'),
        ('tests/make_mistakes.py', 'hypothesis', '-r requirements-dev.txt'),
        ('tests/mutants.py', 'mutmut', '-r requirements-dev.txt'),
        ('tests/fuzz.py', 'atheris', 'atheris'),
    ],
)
def test_what_needs_a_package_that_only_developers_have(monkeypatch, script, package, remedy):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(sys, 'argv', [script])
    with pytest.raises(SystemExit) as exit:
        runpy.run_path(str(ROOT / script), run_name='__main__')
    assert exit.value.code == f'{Path(script).name} needs {package}, which is missing: pip install {remedy}'


# Any caller


@pytest.mark.parametrize('script', SCRIPTS)
def test_streams_that_are_no_terminals(quick, monkeypatch, data_dir, tmp_path, script):
    """As a notebook's, or IDLE's."""
    args = [*SHORT[script].split(), '--data_dir', data_dir, '--out_dir', tmp_path / 'run']
    monkeypatch.setattr(sys, 'argv', [f'{script}.py', *map(str, args)])
    for status in (0, 2):  # the second time, it is there already
        with (
            contextlib.redirect_stdout(io.StringIO()) as out,
            contextlib.redirect_stderr(io.StringIO()) as err,
            pytest.raises(SystemExit) as exit,
        ):
            runpy.run_path(str(ROOT / f'{script}.py'), run_name='__main__')
        assert exit.value.code == status
        assert ('test accuracy' in out.getvalue()) == (status == 0)
        assert err.getvalue().count('\n') == (status == 2)


def test_without_docstrings_and_assertions(data_dir, tmp_path):
    """As under PYTHONOPTIMIZE=2."""
    args = [*SHORT['train_mlp_numpy'].split(), '--data_dir', data_dir, '--out_dir', tmp_path / 'run']
    short_run('train_mlp_numpy', data_dir, tmp_path / 'whole')
    command = [sys.executable, '-OO', ROOT / 'train_mlp_numpy.py', *args]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stderr) == (0, '')
    assert_same_run(tmp_path / 'run', tmp_path / 'whole')


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_script_whose_docstring_python_has_left_out(monkeypatch, script):
    monkeypatch.setattr(f'{script}.__doc__', None)
    assert parse(script).seed == 42


def test_no_script_takes_its_docstring_for_granted():
    """With __doc__.splitlines() or __doc__[0] it would not even start under PYTHONOPTIMIZE=2."""
    for folder in ('.', 'benchmarks', 'checking', 'data', 'experiments', 'report', 'tests', 'training'):
        for path in (ROOT / folder).glob('*.py'):
            for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
                used = getattr(node, 'value', None) if isinstance(node, (ast.Attribute, ast.Subscript)) else None
                assert not isinstance(used, ast.Name) or used.id != '__doc__', f'{path}:{node.lineno}'


@pytest.mark.parametrize('name', ['WORLD_SIZE', 'RANK', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE'])
def test_a_batch_system_that_says_no_number(quick, monkeypatch, capsys, data_dir, tmp_path, name):
    """As from WORLD_SIZE=$SLURM_NTASKS where there is none."""
    monkeypatch.setenv('WORLD_SIZE', '2' if name == 'RANK' else '')
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setattr(torch.cuda, 'set_device', lambda device: None)
    device = ['--device', 'cuda' if name == 'LOCAL_RANK' else 'cpu']
    monkeypatch.setenv(name, 'many')
    status, line = failing_short_run(capsys, 'train_mlp_pytorch', data_dir, tmp_path / 'run', *device)
    assert status == 2 and f"{name} in the environment must be a whole number, got 'many'" in line
    if name == 'WORLD_SIZE':
        monkeypatch.setenv(name, '')
        assert short_run('train_mlp_pytorch', data_dir, tmp_path / 'alone', *device)


@pytest.mark.parametrize('script', SCRIPTS[1:])
def test_a_world_size_that_was_left_in_the_environment(quick, monkeypatch, capsys, data_dir, tmp_path, script):
    for name in ('RANK', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('WORLD_SIZE', '2')
    status, line = failing_short_run(capsys, script, data_dir, tmp_path / 'run')
    assert status == 1 and 'torchrun' in line and 'WORLD_SIZE' in line
    assert not (tmp_path / 'run').exists()


def test_a_port_that_is_taken(quick, monkeypatch, capsys, data_dir, tmp_path):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        rank = {'WORLD_SIZE': '2', 'RANK': '0', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': taken.getsockname()[1]}
        for name, value in rank.items():
            monkeypatch.setenv(name, str(value))
        status, line = failing_short_run(capsys, 'train_mlp_pytorch', data_dir, tmp_path / 'run')
    assert status == 1 and str(rank['MASTER_PORT']) in line and 'torchrun' in line


def test_what_the_root_holds_is_installed_with_it():
    """After pip install -e . or uv sync the modules are imported from any folder, with what they need."""
    tomllib = pytest.importorskip('tomllib')  # since Python 3.11
    settings = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['tool']['setuptools']
    assert set(settings['py-modules']) == {path.stem for path in ROOT.glob('*.py')} - {'unittests'}
    assert set(settings['packages']) == {path.parent.name for path in ROOT.glob('*/__init__.py')} | {'experiments'}
    assert settings['dynamic']['dependencies'] == {'file': ['requirements.txt']}


# Any file system


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, 'no answer'])
def no_locks(request, monkeypatch):
    """Lustre, NFS and FUSE as some mount them: a lock is refused in one way or another, or never answered."""
    fcntl = pytest.importorskip('fcntl')
    over = threading.Event()

    def flock(*args):
        if request.param == 'no answer':
            assert over.wait(60)
        raise OSError(request.param, 'refused')

    monkeypatch.setattr(fcntl, 'flock', flock)
    if request.param == 'no answer':
        monkeypatch.setattr('data.locks.PROBE', 0.05)
    yield
    over.set()


def test_a_file_system_without_locks(quick, no_locks, capsys, data_dir, tmp_path):
    short_run('train_mlp_numpy', data_dir, tmp_path / 'run', '--quiet')
    out, err = capsys.readouterr()
    assert out == '' and err.count('\n') == 1 and f'{tmp_path / "run"} has no locks' in err
    assert (tmp_path / 'run' / 'summary.json').exists()


def test_data_are_unpacked_on_a_file_system_without_locks(no_locks, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(download, '_find_archive', lambda folder: tmp_path / 'archive')
    monkeypatch.setattr(download, '_unpack', lambda archive, folder: folder.mkdir())
    download.download_cifar10(tmp_path / 'cifar10' / 'batches')
    err = capsys.readouterr().err
    assert err.count('\n') == 1 and f'{tmp_path / "cifar10"} has no locks' in err
    assert (tmp_path / 'cifar10' / 'batches').exists()


def test_a_link_to_a_folder_that_is_not_there_yet(quick, data_dir, tmp_path):
    """As on clusters, where runs/ leads to a scratch disk that is emptied from time to time."""
    (tmp_path / 'link').symlink_to(tmp_path / 'scratch' / 'runs')
    for out_dir in (tmp_path / 'link', tmp_path / 'link' / 'one'):
        short_run('train_mlp_numpy', data_dir, out_dir)
    assert (tmp_path / 'scratch' / 'runs' / 'one' / 'summary.json').exists() and (tmp_path / 'link').is_symlink()


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_tilde_is_the_users_home(monkeypatch, tmp_path, script):
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('USERPROFILE', str(tmp_path))
    flags = parse(script, '--out_dir=~/run', '--data_dir', '~/data')
    assert (flags.out_dir, flags.data_dir) == (str(tmp_path / 'run'), str(tmp_path / 'data'))


def test_a_run_of_another_user_that_may_not_be_read(quick, monkeypatch, capsys, data_dir, tmp_path):
    """Written under umask 077."""
    short_run('train_mlp_numpy', data_dir, tmp_path, '--quiet')
    config, read = tmp_path / 'config.json', Path.read_text

    def closed(path, *args, **kwargs):
        if path == config:
            raise PermissionError(errno.EACCES, 'Permission denied', str(path))
        return read(path, *args, **kwargs)

    monkeypatch.setattr(Path, 'read_text', closed)  # root may read everything
    status, line = failing_short_run(capsys, 'train_mlp_numpy', data_dir, tmp_path, '--resume')
    assert status == 1 and f'{config} may not be used (Permission denied): change its permissions' in line


# Typing


@pytest.mark.parametrize('script', SCRIPTS)
@pytest.mark.parametrize(
    ('typed', 'meant'),
    [
        ('--lr 0.1', '--learning_rate'),
        ('--learning-rate 0.1', '--learning_rate'),
        ('--learning-rate=0.1', '--learning_rate'),
        ('--leraning_rate 0.1', '--learning_rate'),
        ('-lr 0.1', '--learning_rate'),
        ('–learning_rate 0.1', '--learning_rate'),  # copied from a PDF
        ('—max_steps=5', '--max_steps'),
        ('--bs 32', '--batch_size'),
        ('--batchsize 32', '--batch_size'),
        ('--max-steps 5', '--max_steps'),
        ('--epoch 3', '--epochs'),
        ('--output runs/mine', '--out_dir'),
        ('--dataset=cifar10 --datadir x', '--data_dir'),
    ],
)
def test_a_mistyped_flag_is_answered_with_the_one_that_was_meant(capsys, script, typed, meant):
    status, line = failing_run(capsys, script, *typed.split())
    assert status == 2 and f'did you mean {meant}?' in line


@pytest.mark.parametrize('script', SCRIPTS[:2])
@pytest.mark.parametrize('typed', ['--hidden 100', '--layers 100', '--dnn-hidden-units 100'])
def test_mistyped_hidden_units(capsys, script, typed):
    status, line = failing_run(capsys, script, *typed.split())
    assert status == 2 and 'did you mean --dnn_hidden_units?' in line


@pytest.mark.parametrize('script', SCRIPTS[:2])
def test_values_that_are_not_joined_by_commas(capsys, script):
    status, line = failing_run(capsys, script, '--dnn_hidden_units', '100', '50')
    assert status == 2 and '50' in line and 'commas' in line and '512,256' in line


@pytest.mark.parametrize('typed', ['--zzz', '--nope'])  # of --dtype the latter has the hyphens and two letters
def test_what_is_like_no_flag_is_answered_with_none(capsys, typed):
    _, line = failing_run(capsys, 'train_mlp_numpy', typed)
    assert 'did you mean' not in line


# Going on with an older run


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_flag_that_is_newer_than_the_run_counts_as_its_default(
    quick, monkeypatch, capsys, data_dir, tmp_path, script
):
    whole = short_run(script, data_dir, tmp_path / 'whole')
    interrupted_run(monkeypatch, 'after_step', 3, script, data_dir, tmp_path / 'run')
    path = tmp_path / 'run' / 'config.json'
    config = json.loads(path.read_text())
    for name in ('validation_size', 'epochs'):
        del config['flags'][name]
    path.write_text(json.dumps(config))
    status, line = failing_short_run(capsys, script, data_dir, tmp_path / 'run', '--resume', '--validation_size', '20')
    assert status == 2 and '--validation_size is 0 there, got 20' in line
    assert short_run(script, data_dir, tmp_path / 'run', '--resume') == whole


# What a run costs


@pytest.mark.parametrize('script', SCRIPTS)
@pytest.mark.parametrize('how', ['cut off', 'ended by a signal'])
def test_a_resumed_run_has_the_cost_of_the_whole(quick, monkeypatch, data_dir, tmp_path, script, how):
    """By a clock on which a step takes a second, and a peak of memory before the resume."""
    now, peak, after_step = [1.0], [900], Run.after_step

    def slow(self, *args):
        now[0] += 1
        after_step(self, *args)

    monkeypatch.setattr('time.perf_counter', lambda: now[0])
    monkeypatch.setattr('training.progress.peak_memory_mb', lambda: peak[0])
    monkeypatch.setattr(Run, 'after_step', slow)
    args = [script, data_dir, tmp_path, '--max_steps', 9, '--eval_freq', 4]
    if how == 'cut off':
        interrupted_run(monkeypatch, '_evaluate', 8, *args)  # after the checkpoint of step 4
    else:
        with monkeypatch.context() as patch, pytest.raises(Interrupted):
            before_step(patch, 4, lambda: signal.raise_signal(signal.SIGTERM))
            short_run(*args)
    now[0], peak[0] = 1000.0, 300
    assert read_checkpoint(tmp_path / CHECKPOINTS[script])['run']['step'] == 4
    short_run(*args, '--resume')
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert summary['seconds'] == 9.0
    assert summary['images_per_second'] == parse(script, *SHORT[script].split()).batch_size
    assert summary['peak_memory_mb'] == 900


def test_a_run_that_is_cut_off_before_its_summary_keeps_its_rate(quick, monkeypatch, data_dir, tmp_path):
    interrupted_run(monkeypatch, 'finish', 5, 'train_mlp_numpy', data_dir, tmp_path)
    short_run('train_mlp_numpy', data_dir, tmp_path, '--resume')
    assert json.loads((tmp_path / 'summary.json').read_text())['images_per_second'] > 0


# What is averaged


def test_the_moving_average_is_of_the_statistics_too(quick, data_dir, tmp_path):
    states = []
    for steps in (1, 2, 3):
        args = ['--max_steps', steps, '--ema', '0.75', '--batch_norm', 'torch', '--init', 'pytorch']
        short_run('train_mlp_pytorch', data_dir, tmp_path / str(steps), *args)
        states.append(read_checkpoint(tmp_path / str(steps) / 'checkpoint.pt'))
    buffers = [name for name in states[0]['model'] if 'running' in name]
    assert len(buffers) == 2
    for name, first in states[0]['model'].items():
        second, third = (state['model'][name] for state in states[1:])
        if first.is_floating_point():
            expected = 0.75 * (0.75 * first + 0.25 * second) + 0.25 * third
            # float32, 6e-8: three numbers and their means are rounded a few times.
            torch.testing.assert_close(states[2]['ema'][f'module.{name}'], expected, rtol=1e-5, atol=1e-6)
    moved = [(states[2]['ema'][f'module.{name}'] - states[2]['model'][name]).abs().max() for name in buffers]
    assert min(moved) > 1e-3  # the average is not the last
