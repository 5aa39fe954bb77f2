"""What the tests of the training scripts share: tiny data, short runs, and a look into what a run leaves behind."""

import os

# One thread for all that is computed here: the arrays are tiny, and equal bits take equal threads in every process.
os.environ['OMP_NUM_THREADS'] = '1'
os.environ['OPENBLAS_NUM_THREADS'] = '1'
# And a CPU alone, so that every machine tests the same: GPUs are for test_cuda.py.
os.environ['CUDA_VISIBLE_DEVICES'] = ''

import contextlib
import importlib
import json
import pickle
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import batches
import forks
import numpy as np
import pytest

from training.script import run_script

ROOT, SCRIPTS = forks.ROOT, forks.SCRIPTS
CHECKPOINTS = {script: 'checkpoint.npz' if 'numpy' in script else 'checkpoint.pt' for script in SCRIPTS}
SHORT = {
    'train_mlp_numpy': '--max_steps 5 --eval_freq 2 --batch_size 50 --learning_rate 0.01 --dnn_hidden_units 8',
    'train_mlp_pytorch': '--max_steps 5 --eval_freq 2 --batch_size 50 --learning_rate 0.01 --dnn_hidden_units 8',
    'train_convnet_pytorch': '--max_steps 5 --eval_freq 2 --batch_size 8 --learning_rate 0.01 --precision fp32',
}


@pytest.fixture(scope='session')
def data_dir(tmp_path_factory):
    """A CIFAR-10 folder of 200 training and 40 test images."""
    folder = tmp_path_factory.mktemp('data') / 'cifar-10-batches-py'
    batches.write_folder(folder, n_train=40, n_test=40)
    return folder


@pytest.fixture
def unprivileged():
    """A folder of a user whom permissions stop, unlike root, and a function (path, mode) that closes a path."""
    import torchvision.datasets.utils  # noqa: F401 - that user may not get at it

    is_root, closed = os.geteuid() == 0, []

    def close(path, mode):
        closed.append((path, path.stat().st_mode))
        path.chmod(mode)

    with tempfile.TemporaryDirectory() as folder:  # the folders around pytest's own are closed
        if is_root:
            os.chown(folder, 65534, -1)
            os.seteuid(65534)
        try:
            yield Path(folder), close
        finally:
            for path, mode in closed:
                path.chmod(mode)
            if is_root:
                os.seteuid(0)


@pytest.fixture(scope='session')
def easy_data_dir(tmp_path_factory):
    """A CIFAR-10 folder that a network can learn: each class is a picture of its own, under noise."""
    folder = tmp_path_factory.mktemp('easy') / 'cifar-10-batches-py'
    folder.mkdir()
    rng = np.random.default_rng(5)
    pictures = rng.integers(60, 196, (10, 3072))
    for name in batches.FILES:
        labels = np.arange(60) % 10
        pixels = np.clip(pictures[labels] + rng.normal(0, 40, (60, 3072)), 0, 255).astype(np.uint8)
        (folder / name).write_bytes(batches.batch_bytes(pixels, labels.tolist()))
    return folder


@pytest.fixture
def quick(monkeypatch):
    """Spares a run what takes most of its time."""
    for place, value in forks.spared():
        monkeypatch.setattr(place, value)


def parse(script, *args):
    return importlib.import_module(script).parse_flags([str(arg) for arg in args])


def short_run(script, data_dir, out_dir, *args):
    """Trains in this process for a few steps and returns the history."""
    args = [*SHORT[script].split(), '--data_dir', data_dir, '--out_dir', out_dir, *args]
    if '--epochs' in args:
        del args[:2]  # --max_steps
    return importlib.import_module(script).train(parse(script, *args))


def failing_run(capsys, script, *args):
    """The exit status and the one line on stderr of a script that is called with bad arguments, in this process."""
    module = importlib.import_module(script)
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit:
        run_script(module.train, parse(script, *args))
    err = capsys.readouterr().err
    assert err.endswith('\n') and err.count('\n') == 1, f'not one line: {err!r}'
    return exit.value.code, err


def failing_short_run(capsys, script, data_dir, out_dir, *args):
    paths = ['--data_dir', data_dir, '--out_dir', out_dir]
    return failing_run(capsys, script, *SHORT[script].split(), '--quiet', *paths, *args)


def process(script, *args, **kwargs):
    """A training script as a process of its own."""
    command = [sys.executable, str(ROOT / f'{script}.py'), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **kwargs)


def in_a_terminal(command, columns):
    """Runs a command in a terminal of so many columns; its exit status, and the bytes that it shows."""
    fcntl, pty, termios = map(pytest.importorskip, ('fcntl', 'pty', 'termios'))
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('4H', 30, columns, 0, 0))
    with subprocess.Popen(list(map(str, command)), stdout=terminal, stderr=terminal) as running:
        os.close(terminal)
        shown = b''
        with contextlib.suppress(OSError):  # what Linux raises at the end of a terminal
            while chunk := os.read(master, 4096):
                shown += chunk
    os.close(master)
    return running.returncode, shown


def read_checkpoint(path):
    """What a checkpoint says of the training, without what differs from one run to the next."""
    if path.suffix == '.npz':
        with np.load(path, allow_pickle=False) as arrays:
            state = {name: json.loads(str(a)) if a.dtype.kind == 'U' else a for name, a in arrays.items()}
    else:
        import torch

        state = torch.load(path, map_location='cpu', weights_only=True)
    del state['flags'], state['cost']
    return state


def weights_of(path):
    """The parameters and buffers in a checkpoint, by name."""
    state = read_checkpoint(path)
    prefix = 'model.'
    named = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return named or state['model']


def assert_same(a, b):
    """Equality to the last bit, of arrays and tensors too."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif hasattr(a, 'dtype'):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    else:
        assert a == b


def assert_same_run(path, reference):
    """Two run folders hold the same results, to the last bit."""
    name = next(reference.glob('checkpoint.*')).name
    assert_same(read_checkpoint(path / name), read_checkpoint(reference / name))
    histories = [(folder / 'history.csv').read_text().splitlines() for folder in (path, reference)]
    assert histories[0][0].endswith(',seconds')
    assert [row.rpartition(',')[0] for row in histories[0]] == [row.rpartition(',')[0] for row in histories[1]]
    summaries = [json.loads((folder / 'summary.json').read_text()) for folder in (path, reference)]
    for summary in summaries:
        del summary['seconds'], summary['images_per_second'], summary['peak_memory_mb']
    assert summaries[0] == summaries[1]


def snapshot(folder):
    """The content and the time of change of every file below a folder, but for its lock."""
    files = [p for p in sorted(folder.rglob('*')) if p.is_file() and p.name != '.lock']
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


class Hostile:
    """Pickled, it asks whoever unpickles it to create a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, 'w')


def hostile_pickle(path):
    return pickle.dumps(Hostile(path))
