"""What goes wrong around a run: disks, signals, pipes, terminals, other processes. Nothing is lost, nothing hangs."""

import importlib
import json
import locale
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import (
    CHECKPOINTS,
    ROOT,
    SCRIPTS,
    SHORT,
    assert_same_run,
    failing_short_run,
    in_a_terminal,
    parse,
    process,
    short_run,
    snapshot,
)
from forks import Fork, together
from test_resume import STATEFUL, interrupted_run

from cifar10_utils import load_cifar10
from training.script import run_script

LONG = {  # a second or two, evaluated often
    'train_mlp_numpy': '--max_steps 1500 --eval_freq 50 --batch_size 60 --dnn_hidden_units 8 --validation_size 10',
    'train_mlp_pytorch': '--max_steps 300 --eval_freq 20 --batch_size 21 --dropout 0.5 --augment --ema 0.9',
}


def arguments(script, data_dir, out_dir, *args):
    """Those of a long run."""
    return [*LONG[script].split(), '--data_dir', data_dir, '--out_dir', out_dir, *args]


def start(script, *args):
    """A long run as a process of its own."""
    return Fork(script, *arguments(script, *args))


def command(script, *args, launcher=()):
    """The command of a long run."""
    return list(map(str, [sys.executable, *launcher, ROOT / f'{script}.py', *arguments(script, *args)]))


def wait_for(path, running, seconds=120):
    """Waits until the process has written a file."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert running.poll() is None and time.monotonic() < end
        time.sleep(0.005)


# The last checkpoint is not what it was


@pytest.mark.parametrize('script', SCRIPTS)
@pytest.mark.parametrize('damage', ['cut in half', 'gone'])
def test_the_checkpoint_before_is_taken(quick, monkeypatch, capsys, data_dir, tmp_path, script, damage):
    args = STATEFUL[script].split()
    whole = short_run(script, data_dir, tmp_path / 'whole', *args)
    interrupted_run(monkeypatch, 'after_step', 7, script, data_dir, tmp_path / 'cut', *args)
    checkpoint = tmp_path / 'cut' / CHECKPOINTS[script]
    previous = checkpoint.with_name(f'previous{checkpoint.suffix}')
    if damage == 'gone':  # what a kill between two renames leaves
        checkpoint.unlink()
    else:
        content = checkpoint.read_bytes()
        checkpoint.write_bytes(content[: len(content) // 2])
    capsys.readouterr()
    assert short_run(script, data_dir, tmp_path / 'cut', *args, '--resume') == whole
    out, err = capsys.readouterr()
    assert err.count('\n') == 1 and str(checkpoint) in err and previous.name in err
    assert 'at step 4' in out
    assert_same_run(tmp_path / 'cut', tmp_path / 'whole')
    assert not previous.exists()


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_damaged_checkpoint_does_not_take_the_place_of_the_one_before(quick, monkeypatch, data_dir, tmp_path, script):
    interrupted_run(monkeypatch, 'after_step', 4, script, data_dir, tmp_path)
    checkpoint = tmp_path / CHECKPOINTS[script]
    checkpoint.write_bytes(b'damaged')
    previous = checkpoint.with_name(f'previous{checkpoint.suffix}')
    before = previous.read_bytes()
    interrupted_run(monkeypatch, 'after_step', 4, script, data_dir, tmp_path, '--resume')
    assert checkpoint.read_bytes() != b'damaged'
    assert previous.read_bytes() == before


@pytest.mark.parametrize('script', SCRIPTS)
@pytest.mark.parametrize('error', [MemoryError(), RuntimeError('CUDA out of memory.'), PermissionError(13, 'Denied')])
def test_a_checkpoint_that_cannot_be_read_now_is_not_called_damaged(
    quick, monkeypatch, capsys, data_dir, tmp_path, script, error
):
    interrupted_run(monkeypatch, 'after_step', 4, script, data_dir, tmp_path)
    before = snapshot(tmp_path)

    def failing(*args, **kwargs):
        raise error

    monkeypatch.setattr('numpy.load' if script == 'train_mlp_numpy' else 'torch.load', failing)
    status, line = failing_short_run(capsys, script, data_dir, tmp_path, '--resume')
    assert status == 1 and 'damaged' not in line
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize('script', SCRIPTS)
def test_two_damaged_checkpoints_are_refused(quick, monkeypatch, capsys, data_dir, tmp_path, script):
    interrupted_run(monkeypatch, 'after_step', 4, script, data_dir, tmp_path)
    checkpoint = tmp_path / CHECKPOINTS[script]
    for path in (checkpoint, checkpoint.with_name(f'previous{checkpoint.suffix}')):
        path.write_bytes(path.read_bytes()[:1000])
    before = snapshot(tmp_path)
    with pytest.raises(SystemExit) as exit:
        run_script(importlib.import_module(script).train, parse(script, *short_arguments(script, data_dir, tmp_path)))
    err = capsys.readouterr().err
    assert exit.value.code == 1 and 'damaged' in err and err.count('\n') == 2  # of the first, then of the second
    assert snapshot(tmp_path) == before


def short_arguments(script, data_dir, out_dir):
    return [*SHORT[script].split(), '--data_dir', data_dir, '--out_dir', out_dir, '--resume', '--quiet']


# The data


@pytest.mark.parametrize('script', SCRIPTS)
@pytest.mark.parametrize('changed', ['pixel', 'label', 'test image'])
def test_a_run_is_not_resumed_with_other_data(quick, monkeypatch, capsys, data_dir, tmp_path, script, changed):
    shutil.copytree(data_dir, tmp_path / 'data')
    interrupted_run(monkeypatch, 'after_step', 4, script, tmp_path / 'data', tmp_path / 'run')
    batch = tmp_path / 'data' / ('test_batch' if changed == 'test image' else 'data_batch_3')
    content = bytearray(batch.read_bytes())
    place = content.index(b'labels') + 10 if changed == 'label' else len(content) // 2
    if changed == 'test image':
        place = content.index(load_cifar10(data_dir)[2][0].tobytes())
    while changed == 'label' and content[place : place + 1] != b'K':  # the opcode before a label
        place += 1
    content[place + 1] ^= 1
    batch.write_bytes(content)
    before = snapshot(tmp_path / 'run')
    status, line = failing_short_run(capsys, script, tmp_path / 'data', tmp_path / 'run', '--resume')
    assert status == 1 and 'the data are not those' in line
    assert snapshot(tmp_path / 'run') == before


def test_data_that_change_while_training_change_nothing(data_dir, tmp_path):
    shutil.copytree(data_dir, tmp_path / 'data')
    with start('train_mlp_numpy', tmp_path / 'data', tmp_path / 'run') as running:
        wait_for(tmp_path / 'run' / 'checkpoint.npz', running)
        for batch in (tmp_path / 'data').iterdir():
            batch.write_bytes(b'')
    assert running.returncode == 0
    assert start('train_mlp_numpy', data_dir, tmp_path / 'whole').wait() == 0
    assert_same_run(tmp_path / 'run', tmp_path / 'whole')


# The disk


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 40 MB."""
    disk = tmp_path / 'disk'
    disk.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=40m', 'tmpfs', disk]
    if not sys.platform.startswith('linux') or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('may not mount a disk here')
    yield disk
    subprocess.run(['umount', disk], check=True)


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_full_file_system(quick, monkeypatch, capsys, data_dir, tmp_path, small_disk, script):
    args = STATEFUL[script].split()
    interrupted_run(monkeypatch, 'after_step', 5, script, data_dir, small_disk / 'run', *args)
    before = snapshot(small_disk / 'run')
    room = os.statvfs(small_disk)
    (small_disk / 'filler').write_bytes(bytes(room.f_bavail * room.f_bsize))
    status, line = failing_short_run(capsys, script, data_dir, small_disk / 'run', *args, '--resume')
    assert status == 1 and 'No space left on device' in line and 'kept' in line
    assert snapshot(small_disk / 'run') == before
    (small_disk / 'filler').unlink()
    whole = short_run(script, data_dir, tmp_path / 'whole', *args)
    assert short_run(script, data_dir, small_disk / 'run', *args, '--resume') == whole
    assert_same_run(small_disk / 'run', tmp_path / 'whole')


@pytest.mark.parametrize('script', SCRIPTS)
@pytest.mark.parametrize('more', ['--resume', '--overwrite'])
def test_a_file_system_that_is_read_only(quick, monkeypatch, capsys, data_dir, small_disk, script, more):
    interrupted_run(monkeypatch, 'after_step', 4, script, data_dir, small_disk / 'run')
    before = snapshot(small_disk)
    subprocess.run(['mount', '-o', 'remount,ro', small_disk], check=True)
    for out_dir in ('run', 'another'):
        status, line = failing_short_run(capsys, script, data_dir, small_disk / out_dir, more)
        assert status == 1 and 'Read-only file system' in line
    assert snapshot(small_disk) == before


# Other processes


def test_two_runs_cannot_share_a_folder(data_dir, tmp_path):
    with start('train_mlp_numpy', data_dir, tmp_path / 'run') as running:
        wait_for(tmp_path / 'run' / 'checkpoint.npz', running)
        for more in ('--resume', '--overwrite'):
            second = start('train_mlp_numpy', data_dir, tmp_path / 'run', more)
            assert second.wait() == 2
            assert running.poll() is None, 'the first run must outlast this'
            assert second.err.count('\n') == 1 and 'in use' in second.err
    assert running.returncode == 0
    assert start('train_mlp_numpy', data_dir, tmp_path / 'alone').wait() == 0
    assert_same_run(tmp_path / 'run', tmp_path / 'alone')


def test_a_process_whose_other_has_gone_says_so(data_dir, tmp_path):
    args = arguments('train_mlp_pytorch', data_dir, tmp_path / 'run', '--batch_size', '20')
    left, killed = together(2, 'train_mlp_pytorch', *args)
    wait_for(tmp_path / 'run' / 'checkpoint.pt', left)
    killed.kill()
    assert killed.wait() < 0 and left.wait() == 1
    assert 'another of the processes has gone' in left.err and '--resume' in left.err and 'Traceback' not in left.err


def test_a_notice_to_one_process_ends_all_after_the_same_step(data_dir, tmp_path):
    """As a batch system's that is sent to one of them."""
    args = arguments('train_mlp_pytorch', data_dir, tmp_path / 'run', '--batch_size', '20')
    first, second = together(2, 'train_mlp_pytorch', *args)
    wait_for(tmp_path / 'run' / 'checkpoint.pt', first)
    second.send_signal(signal.SIGTERM)
    assert [first.wait(), second.wait()] == [143, 143]
    assert 'ended by SIGTERM' in first.err and '--resume' in first.err and second.err == ''
    for out_dir, more in ('run', ['--resume']), ('whole', []):
        args = arguments('train_mlp_pytorch', data_dir, tmp_path / out_dir, '--batch_size', '20', *more)
        assert [one.wait() for one in together(2, 'train_mlp_pytorch', *args)] == [0, 0]
    assert_same_run(tmp_path / 'run', tmp_path / 'whole')


def torchrun(n, data_dir, out_dir, *args, stderr=None):
    """A long run of the MLP under torchrun in n processes."""
    launcher = ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={n}', '--max_restarts=1']
    # The second is for torch 2.6, which else hangs after a restart: https://github.com/pytorch/pytorch/issues/135712
    environment = os.environ | {'GLOO_SOCKET_IFNAME': 'lo', 'TORCH_DISABLE_SHARE_RDZV_TCP_STORE': '1'}
    words = command('train_mlp_pytorch', data_dir, out_dir, *args, launcher=launcher)
    return subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=stderr)


def test_torchrun_passes_a_notice_on(data_dir, tmp_path):
    log = tmp_path / 'log'
    with (
        open(log, 'wb') as stderr,
        torchrun(2, data_dir, tmp_path / 'run', '--batch_size=20', stderr=stderr) as running,
    ):
        wait_for(tmp_path / 'run' / 'checkpoint.pt', running)
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=120) != 0
    assert log.read_text().count('ended by SIGTERM: the same command with --resume continues') == 1
    for out_dir, more in ('run', ['--resume']), ('whole', []):
        args = arguments('train_mlp_pytorch', data_dir, tmp_path / out_dir, '--batch_size', '20', *more)
        assert [one.wait() for one in together(2, 'train_mlp_pytorch', *args)] == [0, 0]
    assert_same_run(tmp_path / 'run', tmp_path / 'whole')


@pytest.mark.skipif(not Path('/proc').is_dir(), reason='no /proc to find the workers in')
def test_torchrun_goes_on_when_a_worker_is_killed(data_dir, tmp_path):
    # Three: of two, a sum is the same in any order.
    log = tmp_path / 'log'
    with open(log, 'wb') as stderr, torchrun(3, data_dir, tmp_path / 'killed', '--resume', stderr=stderr) as running:
        wait_for(tmp_path / 'killed' / 'checkpoint.pt', running)
        children = subprocess.run(['pgrep', '-P', str(running.pid)], capture_output=True, text=True).stdout.split()
        workers = [int(child) for child in children if is_training(child)]
        assert len(workers) == 3
        os.kill(workers[-1], signal.SIGKILL)
        assert running.wait(timeout=300) == 0
    assert 'Traceback' not in log.read_text()
    args = arguments('train_mlp_pytorch', data_dir, tmp_path / 'whole')
    assert [one.wait() for one in together(3, 'train_mlp_pytorch', *args)] == [0, 0, 0]
    assert_same_run(tmp_path / 'killed', tmp_path / 'whole')
    config = json.loads((tmp_path / 'killed' / 'config.json').read_text())
    assert config['command'].startswith('torchrun --nproc_per_node 3 train_mlp_pytorch.py ')


def is_training(pid):
    return b'train_mlp_pytorch.py' in Path(f'/proc/{pid}/cmdline').read_bytes()


# The user and the terminal


@pytest.mark.parametrize('script', LONG)
def test_ctrl_c(data_dir, tmp_path, script):
    with start(script, data_dir, tmp_path / 'run') as running:
        wait_for(tmp_path / 'run' / CHECKPOINTS[script], running)
        running.send_signal(signal.SIGINT)
    assert running.returncode == 130
    assert running.err.count('\n') == 1 and '--resume' in running.err
    for out_dir, more in [('run', ['--resume']), ('whole', [])]:
        assert start(script, data_dir, tmp_path / out_dir, *more).wait() == 0
    assert_same_run(tmp_path / 'run', tmp_path / 'whole')


def test_a_pipe_that_is_closed(data_dir, tmp_path):
    words, pipes = command('train_mlp_numpy', data_dir, tmp_path / 'run'), {'stdout': subprocess.PIPE}
    with subprocess.Popen(words, stderr=subprocess.PIPE, **pipes) as running:
        assert running.stdout.readline().startswith(b'training on NumPy')
        assert running.stdout.readline().startswith(b'step')
        history = tmp_path / 'run' / 'history.csv'
        assert history.read_text().count('\n') < 25, 'the line was held back'
        running.stdout.close()
        err = running.stderr.read().decode()
    assert running.returncode == 1
    assert err.count('\n') == 1 and '--resume' in err
    for out_dir, more in [('run', ['--resume']), ('whole', [])]:
        assert start('train_mlp_numpy', data_dir, tmp_path / out_dir, *more).wait() == 0
    assert_same_run(tmp_path / 'run', tmp_path / 'whole')


def test_no_terminal_at_all(data_dir, tmp_path):
    args = [*SHORT['train_mlp_numpy'].split(), '--data_dir', data_dir, '--out_dir', tmp_path / 'run']
    quoted = shlex.join(map(str, [sys.executable, ROOT / 'train_mlp_numpy.py', *args]))
    for more, status in [('', 0), ('', 2), ('--resume', 0)]:
        closed = f'{quoted} {more} <&- >&- 2>&-'
        assert subprocess.run(['sh', '-c', closed], start_new_session=True, timeout=120).returncode == status
    assert (tmp_path / 'run' / 'curves.png').exists()


@pytest.mark.parametrize('columns', [20, 1])
def test_a_narrow_terminal(data_dir, tmp_path, columns):
    status, shown = in_a_terminal(command('train_mlp_numpy', data_dir, tmp_path / 'run'), columns)
    assert status == 0
    assert b'test accuracy' in shown and b'Traceback' not in shown


def skip_unless_installed(name):
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, name)
    except locale.Error:
        pytest.skip(f'the locale {name} is not installed')
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


LOCALES = ['C', 'POSIX', 'C.UTF-8', 'de_DE.UTF-8', 'tr_TR.ISO8859-9', 'no_such']


@pytest.mark.parametrize(
    ('script', 'name'),
    [
        *(('train_mlp_numpy', name) for name in LOCALES),
        ('train_mlp_pytorch', 'tr_TR.ISO8859-9'),
    ],
)
def test_a_locale_and_a_folder_with_spaces_and_letters_of_all_kinds(data_dir, tmp_path, script, name):
    if name != 'no_such':
        skip_unless_installed(name)
    home = tmp_path / "mes données d'été 画像 \N{DROMEDARY CAMEL}"
    shutil.copytree(data_dir, home / 'data')
    args = [*SHORT[script].split(), '--data_dir', home / 'data', '--out_dir', home / 'run']
    environment = os.environ | {'LC_ALL': name, 'LANG': name}
    for more in ([], ['--resume']):
        result = process(script, *args, *more, env=environment, cwd=home)
        assert (result.returncode, result.stderr) == (0, '')
    assert (home / 'run' / 'curves.png').exists()


def test_a_path_that_the_locale_cannot_spell_is_one_line(data_dir, tmp_path):
    skip_unless_installed('ja_JP.eucJP')
    result = process(
        'train_mlp_numpy',
        '--data_dir',
        data_dir,
        '--out_dir',
        tmp_path / '画像',
        env=os.environ | {'LC_ALL': 'ja_JP.eucJP'},
        errors='replace',
    )
    assert result.returncode == 1 and result.stderr.count('\n') == 1 and 'UTF-8 locale' in result.stderr


def test_letters_that_cannot_be_written_are_one_line(monkeypatch, capsys):
    def train(flags):
        '画像'.encode('ascii')

    with pytest.raises(SystemExit, match='1'):
        run_script(train, None)
    err = capsys.readouterr().err
    assert err.count('\n') == 1 and '画像' in err and 'UTF-8 locale' in err
