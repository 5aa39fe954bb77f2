"""Runs that are cut off, continued, repeated, or refused: finished work is never lost, and a resumed run is the run."""

import errno
import io
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import (
    CHECKPOINTS,
    SCRIPTS,
    SHORT,
    Hostile,
    assert_same_run,
    failing_short_run,
    hostile_pickle,
    process,
    read_checkpoint,
    short_run,
    snapshot,
)
from filelock import FileLock, Timeout
from forks import Fork, together
from test_command_line import EFFECTS

from training.errors import Interrupted, RunError
from training.measurements import Measurements
from training.results import Results
from training.run import Run
from training.signals import ENDING

EVERYTHING = (
    '--optimizer sgd --momentum 0.9 --weight_decay 0.01 --lr_schedule onecycle --augment --ema 0.9 '
    '--label_smoothing 0.1 --standardize --validation_size 21'
)
# With enough state on board that a forgotten part shows: nine steps of 60 are two epochs and more.
STATEFUL = {
    'train_mlp_numpy': '--max_steps 9 --batch_size 60 --validation_size 10',
    'train_mlp_pytorch': f'--max_steps 9 --batch_size 60 --dropout 0.5 --batch_norm torch {EVERYTHING}',
    'train_convnet_pytorch': f'--max_steps 9 {EVERYTHING}',
}


# What a run calls besides its own methods, and the step at which it is called.
CALLED = {
    'read': (Measurements, lambda step: step),
    'write_summary': (Results, lambda row, *_: row['step']),
}


def interrupt(monkeypatch, method, step):
    """Has Ctrl-C pressed when a run is about to call a method after some step."""
    owner, step_of = CALLED.get(method, (Run, None))
    original = getattr(owner, method)

    def interrupted(self, *args, **kwargs):
        if (step_of(*args) if step_of else self.step) == step:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    monkeypatch.setattr(owner, method, interrupted)


def before_step(monkeypatch, step, act):
    """Calls act() in a run when a step is about to end."""
    after_step = Run.after_step

    def acting(self, *args):
        if self.step == step - 1:
            act()
        after_step(self, *args)

    monkeypatch.setattr(Run, 'after_step', acting)


def interrupted_run(monkeypatch, method, step, *args):
    with monkeypatch.context() as patch:
        interrupt(patch, method, step)
        with pytest.raises(KeyboardInterrupt):
            short_run(*args)


# Cut off and continued


KILLED = {
    'train_mlp_numpy': '--max_steps 1000 --eval_freq 50 --batch_size 60 --dnn_hidden_units 8',
    'train_mlp_pytorch': f'--max_steps 240 --eval_freq 20 --batch_size 20 --batch_norm manual {EVERYTHING}',
    'train_convnet_pytorch': f'--max_steps 60 --eval_freq 4 --batch_size 4 {EVERYTHING}',
}


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_killed_process_resumes_to_the_same_bits(data_dir, tmp_path, script):
    args = [*KILLED[script].split(), '--data_dir', data_dir, '--quiet', '--out_dir', tmp_path / 'killed']
    with Fork(script, *args) as running:
        while not (tmp_path / 'killed' / CHECKPOINTS[script]).exists():
            assert running.poll() is None
            time.sleep(0.005)
        running.kill()
    assert running.returncode == -signal.SIGKILL
    assert not (tmp_path / 'killed' / 'summary.json').exists()
    for more in (['--resume'], ['--out_dir', tmp_path / 'whole']):
        assert Fork(script, *args, *more).wait() == 0
    assert_same_run(tmp_path / 'killed', tmp_path / 'whole')


def test_processes_that_train_together_resume_to_the_same_bits(data_dir, tmp_path):
    args = f'--max_steps 240 --eval_freq 60 --batch_size 20 --dropout 0.5 --batch_norm torch {EVERYTHING}'.split()
    args += ['--data_dir', data_dir, '--quiet', '--out_dir']
    both = together(2, 'train_mlp_pytorch', *args, tmp_path / 'killed')
    while not (tmp_path / 'killed' / 'checkpoint.pt').exists():
        assert both[0].poll() is None
        time.sleep(0.005)
    for one in both:
        one.kill()
    assert [one.wait() for one in both] == [-signal.SIGKILL] * 2
    assert not (tmp_path / 'killed' / 'summary.json').exists()
    for more in ([tmp_path / 'killed', '--resume'], [tmp_path / 'whole']):
        assert [one.wait() for one in together(2, 'train_mlp_pytorch', *args, *more)] == [0, 0]
    assert_same_run(tmp_path / 'killed', tmp_path / 'whole')


@pytest.mark.parametrize('script', SCRIPTS)
@pytest.mark.parametrize(
    'method',
    ['after_step', 'read', '_evaluate', '_write_history', 'state_dict', 'print', 'finish', 'write_summary'],
)
def test_wherever_it_is_interrupted_a_run_continues_the_same(quick, monkeypatch, data_dir, tmp_path, script, method):
    args = STATEFUL[script].split()
    whole = short_run(script, data_dir, tmp_path / 'whole', *args)
    evaluations = [row['step'] for row in whole]
    assert evaluations == [2, 4, 6, 8, 9]
    # Before step 1 there is no checkpoint, before step 3 one, and so on; one run is cut off and continued at each.
    at = {'after_step': [0, *evaluations[:-1]], 'finish': [9], 'write_summary': [9]}
    for i, step in enumerate(at.get(method, evaluations)):
        resume = ['--resume'] if i else []
        interrupted_run(monkeypatch, method, step, script, data_dir, tmp_path / 'cut', *args, *resume)
    assert short_run(script, data_dir, tmp_path / 'cut', *args, '--resume') == whole
    assert_same_run(tmp_path / 'cut', tmp_path / 'whole')


def test_the_last_row_is_in_the_history_before_it_is_in_the_checkpoint(quick, monkeypatch, data_dir, tmp_path):
    """A run that is cut off between the two would else be complete but for that row."""
    script, args = 'train_mlp_numpy', ['--max_steps', '4', '--eval_freq', '2']
    short_run(script, data_dir, tmp_path / 'whole', *args)
    interrupted_run(monkeypatch, '_write_history', 4, script, data_dir, tmp_path / 'cut', *args)
    short_run(script, data_dir, tmp_path / 'cut', *args, '--resume')
    assert_same_run(tmp_path / 'cut', tmp_path / 'whole')


@pytest.mark.parametrize('script', SCRIPTS[1:])
def test_adamw_continues_the_same(quick, monkeypatch, data_dir, tmp_path, script):
    args = ['--max_steps', '7', '--optimizer', 'adamw', '--learning_rate', '0.01', '--lr_schedule', 'cosine']
    whole = short_run(script, data_dir, tmp_path / 'whole', *args)
    interrupted_run(monkeypatch, 'after_step', 5, script, data_dir, tmp_path / 'cut', *args)
    assert short_run(script, data_dir, tmp_path / 'cut', *args, '--resume') == whole
    assert_same_run(tmp_path / 'cut', tmp_path / 'whole')


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_signal_lets_the_step_end_and_loses_nothing(quick, monkeypatch, data_dir, tmp_path, script):
    """Whichever step it comes at: one run is cut off after every step, by each of the signals in turn."""
    args = [*STATEFUL[script].split(), '--eval_freq', '4']
    whole = short_run(script, data_dir, tmp_path / 'whole', *args)
    handlers = [signal.getsignal(number) for number in ENDING]
    for step in range(1, 10):
        number = ENDING[step % len(ENDING)]
        with monkeypatch.context() as patch, pytest.raises(Interrupted, match=number.name):
            before_step(patch, step, lambda number=number: signal.raise_signal(number))
            short_run(script, data_dir, tmp_path / 'cut', *args, *(['--resume'] if step > 1 else []))
        assert read_checkpoint(tmp_path / 'cut' / CHECKPOINTS[script])['run']['step'] == step
        assert [signal.getsignal(number) for number in ENDING] == handlers
    assert short_run(script, data_dir, tmp_path / 'cut', *args, '--resume') == whole
    assert_same_run(tmp_path / 'cut', tmp_path / 'whole')


@pytest.mark.parametrize('number', ENDING)
def test_a_script_that_a_signal_ends_says_how_to_go_on(quick, monkeypatch, capsys, data_dir, tmp_path, number):
    before_step(monkeypatch, 1, lambda: signal.raise_signal(number))
    status, line = failing_short_run(capsys, 'train_mlp_numpy', data_dir, tmp_path)
    assert status == 128 + number and number.name in line and '--resume' in line and str(tmp_path) in line


@pytest.mark.parametrize('number', ENDING)
def test_a_second_ctrl_c_acts_at_once_and_a_second_notice_does_not(quick, monkeypatch, data_dir, tmp_path, number):
    def twice():
        signal.raise_signal(number)
        signal.raise_signal(number)

    before_step(monkeypatch, 3, twice)
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else Interrupted):
        short_run('train_mlp_numpy', data_dir, tmp_path)
    step = read_checkpoint(tmp_path / 'checkpoint.npz')['run']['step']
    assert step == (2 if number == signal.SIGINT else 3)


def test_a_signal_that_was_ignored_stays_ignored(quick, monkeypatch, data_dir, tmp_path):
    """As nohup wants it."""
    before = [signal.signal(number, signal.SIG_IGN) for number in ENDING]
    try:
        before_step(monkeypatch, 3, lambda: [signal.raise_signal(number) for number in ENDING])
        assert short_run('train_mlp_numpy', data_dir, tmp_path)[-1]['step'] == 5
    finally:
        for number, handler in zip(ENDING, before, strict=True):
            signal.signal(number, handler)


def test_train_outside_the_main_thread(quick, data_dir, tmp_path):
    """Where there are no signals."""
    with ThreadPoolExecutor() as threads:
        assert threads.submit(short_run, 'train_mlp_numpy', data_dir, tmp_path).result()[-1]['step'] == 5


@pytest.mark.parametrize('end', [KeyboardInterrupt, ZeroDivisionError])
def test_the_folder_is_free_again_however_train_ends(quick, monkeypatch, data_dir, tmp_path, end):
    def fails():
        assert is_locked(tmp_path)
        raise end

    before_step(monkeypatch, 3, fails)
    with pytest.raises(end):
        short_run('train_mlp_numpy', data_dir, tmp_path)
    assert not is_locked(tmp_path)


def is_locked(folder):
    try:
        FileLock(folder / '.lock').acquire(blocking=False).lock.release()
    except Timeout:
        return True
    return False


@pytest.mark.parametrize('script', SCRIPTS)
def test_an_interrupted_script_says_how_to_go_on(quick, monkeypatch, capsys, data_dir, tmp_path, script):
    interrupt(monkeypatch, 'after_step', 3)
    status, line = failing_short_run(capsys, script, data_dir, tmp_path / 'run')
    assert status == 130 and '--resume' in line and str(tmp_path / 'run') in line
    interrupt(monkeypatch, 'after_step', 0)
    status, line = failing_short_run(capsys, script, data_dir, tmp_path / 'another')
    assert status == 130 and 'no checkpoint yet' in line and '--resume' not in line


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_row_is_printed_once_it_is_saved(quick, monkeypatch, data_dir, tmp_path, script):
    """So that a reader of the output who goes away takes no evaluation along."""
    interrupted_run(monkeypatch, 'print', 2, script, data_dir, tmp_path)
    assert (tmp_path / 'history.csv').read_text().splitlines()[-1].startswith('2,')
    assert (tmp_path / CHECKPOINTS[script]).exists()


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_reader_who_has_gone_is_not_taken_for_a_damaged_checkpoint(quick, monkeypatch, data_dir, tmp_path, script):
    def print_line(self, line):
        if 'continuing' in line:
            raise BrokenPipeError

    interrupted_run(monkeypatch, 'after_step', 5, script, data_dir, tmp_path, '--max_steps', '9')
    monkeypatch.setattr(Run, 'print', print_line)
    with pytest.raises(BrokenPipeError):
        short_run(script, data_dir, tmp_path, '--max_steps', '9', '--resume')


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_checkpoint_half_written_is_none(quick, capsys, data_dir, tmp_path, script):
    short_run(script, data_dir, tmp_path)
    (tmp_path / 'summary.json').unlink()
    assert '--resume continues it' in failing_short_run(capsys, script, data_dir, tmp_path)[1]
    checkpoint = tmp_path / CHECKPOINTS[script]
    checkpoint.rename(f'{checkpoint}.part')
    assert 'holds an unfinished run: ' in failing_short_run(capsys, script, data_dir, tmp_path)[1]


@pytest.mark.parametrize('script', SCRIPTS)
def test_resume_of_nothing_starts_and_says_so(quick, capsys, data_dir, tmp_path, script):
    whole = short_run(script, data_dir, tmp_path / 'whole')
    assert 'nothing to resume' not in capsys.readouterr().out
    assert short_run(script, data_dir, tmp_path / 'new', '--resume') == whole
    assert f'nothing to resume in {tmp_path / "new"}' in capsys.readouterr().out
    assert_same_run(tmp_path / 'new', tmp_path / 'whole')


@pytest.mark.parametrize('script', SCRIPTS)
def test_resume_before_the_first_checkpoint_starts_and_says_so(quick, monkeypatch, capsys, data_dir, tmp_path, script):
    whole = short_run(script, data_dir, tmp_path / 'whole')
    interrupted_run(monkeypatch, 'after_step', 1, script, data_dir, tmp_path / 'cut')
    assert short_run(script, data_dir, tmp_path / 'cut', '--resume') == whole
    assert f'no checkpoint in {tmp_path / "cut"} yet' in capsys.readouterr().out


def test_tensorboard_shows_each_evaluation_of_a_resumed_run_once(quick, monkeypatch, data_dir, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = ('train_mlp_pytorch', data_dir, tmp_path, '--tensorboard', '--max_steps', '8')
    interrupted_run(monkeypatch, 'state_dict', 6, *run)  # the figures of step 6 are written, its checkpoint is not
    history = short_run(*run, '--resume')
    events = EventAccumulator(str(tmp_path / 'tensorboard')).Reload()
    assert [e.step for e in events.Scalars('test_loss')] == [row['step'] for row in history] == [2, 4, 6, 8]


# Refused


@pytest.mark.parametrize('script', SCRIPTS)
def test_resume_with_another_flag_is_refused_by_name(quick, monkeypatch, capsys, data_dir, tmp_path, script):
    base = [] if 'numpy' in script else ['--optimizer', 'sgd']
    interrupted_run(monkeypatch, 'after_step', 3, script, data_dir, tmp_path / 'run', *base)
    before = snapshot(tmp_path / 'run')
    for flag, effects in EFFECTS[script].items():
        effect = effects[0] if isinstance(effects, list) else effects
        effect = effect[0] if isinstance(effect, tuple) else effect
        if flag == 'optimizer':
            effect = '--optimizer adam'
        if flag in ('epochs', 'cutout', 'max_steps'):  # they come with another flag, exclude one, or may grow
            continue
        args = [*base, *effect.split(), '--resume']
        status, line = failing_short_run(capsys, script, data_dir, tmp_path / 'run', *args)
        assert status == 2 and f'--{flag} ' in line
    assert snapshot(tmp_path / 'run') == before


def test_resume_of_another_scripts_run_names_that_script(quick, capsys, data_dir, tmp_path):
    short_run('train_mlp_numpy', data_dir, tmp_path)
    status, line = failing_short_run(capsys, 'train_mlp_pytorch', data_dir, tmp_path, '--resume')
    assert status == 2 and 'train_mlp_numpy.py' in line


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_run_is_not_overwritten_unless_told(quick, monkeypatch, capsys, data_dir, tmp_path, script):
    whole = short_run(script, data_dir, tmp_path / 'run')
    before = snapshot(tmp_path / 'run')
    status, line = failing_short_run(capsys, script, data_dir, tmp_path / 'run')
    assert status == 2 and '--overwrite' in line and '--resume' not in line
    assert snapshot(tmp_path / 'run') == before

    for step, files in [(0, {'.lock', 'config.json'}), (3, {'history.csv', CHECKPOINTS[script]})]:
        seed = ['--seed', '7', '--overwrite']
        interrupted_run(monkeypatch, 'after_step', step, script, data_dir, tmp_path / 'run', *seed)
        assert files <= {p.name for p in (tmp_path / 'run').iterdir()}
        status, line = failing_short_run(capsys, script, data_dir, tmp_path / 'run')
        assert status == 2 and '--overwrite' in line and ('--resume' in line) == (step > 0)

    assert short_run(script, data_dir, tmp_path / 'run', '--overwrite') == whole


@pytest.mark.parametrize('more', [[], ['--resume']])
def test_files_of_an_unknown_run_are_not_overwritten_unless_told(quick, capsys, data_dir, tmp_path, more):
    whole = short_run('train_mlp_numpy', data_dir, tmp_path)
    (tmp_path / 'config.json').unlink()
    (tmp_path / 'notes.txt').write_text('mine')
    before = snapshot(tmp_path)
    status, line = failing_short_run(capsys, 'train_mlp_numpy', data_dir, tmp_path, *more)
    assert status == 2 and 'summary.json' in line and '--overwrite' in line
    assert snapshot(tmp_path) == before
    assert short_run('train_mlp_numpy', data_dir, tmp_path, '--overwrite') == whole
    assert (tmp_path / 'notes.txt').read_text() == 'mine'


@pytest.mark.parametrize('script', SCRIPTS)
def test_resume_of_a_finished_run_changes_nothing(quick, monkeypatch, data_dir, tmp_path, capsys, script):
    more = [] if 'numpy' in script else ['--tensorboard']
    for name in ('draw_curves', 'draw_predictions', 'draw_filters'):
        monkeypatch.setattr(f'training.plots.{name}', lambda *args: (tmp_path / 'figure.png').write_text('drawn'))
    whole = short_run(script, data_dir, tmp_path, *more)
    before = snapshot(tmp_path)
    assert tmp_path / 'figure.png' in before
    capsys.readouterr()
    assert short_run(script, data_dir, tmp_path, '--resume', *more) == whole
    assert 'finished' in capsys.readouterr().out
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize('script', SCRIPTS)
def test_resume_of_a_finished_run_without_its_checkpoint(quick, data_dir, tmp_path, capsys, script):
    short_run(script, data_dir, tmp_path / 'run')
    (tmp_path / 'run' / CHECKPOINTS[script]).unlink()
    before = snapshot(tmp_path / 'run')
    status, line = failing_short_run(capsys, script, data_dir, tmp_path / 'run', '--resume')
    assert status == 2 and 'finished' in line
    assert snapshot(tmp_path / 'run') == before


# Damaged and hostile


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def pt(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


@pytest.mark.parametrize('script', SCRIPTS)
@pytest.mark.parametrize('damage', ['cut off', 'empty', 'text', 'other content', 'pickle', 'hostile', 'flipped bits'])
def test_a_damaged_or_hostile_checkpoint_is_refused(quick, monkeypatch, capsys, data_dir, tmp_path, script, damage):
    interrupted_run(monkeypatch, 'after_step', 3, script, data_dir, tmp_path / 'run')
    checkpoint, trap = tmp_path / 'run' / CHECKPOINTS[script], tmp_path / 'it ran'
    good = checkpoint.read_bytes()
    if script == 'train_mlp_numpy':
        other = npz(weight=np.zeros(3))
        hostile = npz(**(dict(np.load(checkpoint)) | {'model.layer0.weight': np.array([Hostile(trap)], object)}))
    else:
        other = pt({'model': {'weight': torch.zeros(3)}})
        hostile = pt(torch.load(checkpoint, weights_only=True) | {'model': Hostile(trap)})
    middle = len(good) // 2
    damaged = {
        'cut off': good[:middle],
        'empty': b'',
        'text': b'no checkpoint\n' * 100,
        'other content': other,
        'pickle': hostile_pickle(trap),
        'hostile': hostile,
        'flipped bits': good[:middle] + bytes(255 - b for b in good[middle : middle + 64]) + good[middle + 64 :],
    }[damage]
    checkpoint.write_bytes(damaged)
    before = snapshot(tmp_path / 'run')
    status, line = failing_short_run(capsys, script, data_dir, tmp_path / 'run', '--resume')
    assert status == 1 and str(checkpoint) in line
    assert not trap.exists()
    assert snapshot(tmp_path / 'run') == before

    checkpoint.write_bytes(good)
    assert short_run(script, data_dir, tmp_path / 'run', '--resume')[-1]['step'] == 5


@pytest.mark.parametrize('script', SCRIPTS[:2])
@pytest.mark.parametrize('other', [1, 9])
def test_the_checkpoint_of_another_network_is_refused(quick, monkeypatch, capsys, data_dir, tmp_path, script, other):
    for name, units in [('run', 8), ('other', other)]:
        run = (script, data_dir, tmp_path / name, '--dnn_hidden_units', units)
        interrupted_run(monkeypatch, 'after_step', 3, *run)
    checkpoint = tmp_path / 'run' / CHECKPOINTS[script]
    os.replace(tmp_path / 'other' / CHECKPOINTS[script], checkpoint)
    status, line = failing_short_run(capsys, script, data_dir, tmp_path / 'run', '--resume')
    assert status == 1 and str(checkpoint) in line


@pytest.mark.parametrize('content', ['', '{', '[]', '{"flags": 5}', '{"command": "python"}', '\udcff'])
def test_a_damaged_config_is_one_line(quick, monkeypatch, capsys, data_dir, tmp_path, content):
    interrupted_run(monkeypatch, 'after_step', 3, 'train_mlp_numpy', data_dir, tmp_path / 'run')
    config = tmp_path / 'run' / 'config.json'
    config.write_bytes(content.encode(errors='surrogateescape'))
    status, line = failing_short_run(capsys, 'train_mlp_numpy', data_dir, tmp_path / 'run', '--resume')
    assert status == 1 and str(config) in line


# A disk that refuses


@pytest.mark.parametrize('script', SCRIPTS)
@pytest.mark.parametrize('call', ['fsync', 'replace'])
def test_a_full_disk_keeps_the_last_checkpoint(quick, monkeypatch, data_dir, tmp_path, script, call):
    args = STATEFUL[script].split()
    whole = short_run(script, data_dir, tmp_path / 'whole', *args)
    checkpoint = tmp_path / 'full' / CHECKPOINTS[script]
    kept = []

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fills_up(self):
        if self.step == 6:
            kept.append(checkpoint.read_bytes())
            patch.setattr(os, call, full)
        return state_dict(self)

    state_dict = Run.state_dict
    with monkeypatch.context() as patch:
        patch.setattr(Run, 'state_dict', fills_up)
        with pytest.raises(RunError, match=r'(?s)checkpoint.*No space left on device.*kept') as error:
            short_run(script, data_dir, tmp_path / 'full', *args)
    assert '\n' not in str(error.value)
    assert checkpoint.read_bytes() == kept[0] and read_checkpoint(checkpoint)['run']['step'] == 4
    assert not list((tmp_path / 'full').glob('*.part'))

    assert short_run(script, data_dir, tmp_path / 'full', *args, '--resume') == whole
    assert_same_run(tmp_path / 'full', tmp_path / 'whole')


@pytest.mark.parametrize('script', SCRIPTS)
@pytest.mark.parametrize('way', ['a file', 'below a file', 'not writable', 'name too long'])
def test_a_run_folder_that_cannot_be(quick, capsys, data_dir, tmp_path, script, way):
    out_dir = {
        'a file': tmp_path / 'file',
        'below a file': tmp_path / 'file' / 'run',
        'not writable': tmp_path / 'locked' / 'run',
        'name too long': tmp_path / ('x' * 300),
    }[way]
    (tmp_path / 'file').write_text('mine')
    (tmp_path / 'locked').mkdir(mode=0o500)
    if way == 'not writable' and os.access(tmp_path / 'locked', os.W_OK):
        pytest.skip('root may write everywhere')
    status, line = failing_short_run(capsys, script, data_dir, out_dir)
    assert status == 1 and str(out_dir) in line
    assert (tmp_path / 'file').read_text() == 'mine'


def test_a_file_in_the_way_of_the_script(data_dir, tmp_path):
    (tmp_path / 'file').write_text('mine')
    args = [*SHORT['train_mlp_numpy'].split(), '--data_dir', data_dir, '--out_dir', tmp_path / 'file']
    result = process('train_mlp_numpy', *args)
    assert (result.returncode, result.stdout, result.stderr.count('\n')) == (1, '', 1)
    assert json.dumps(str(tmp_path / 'file'))[1:-1] in result.stderr
