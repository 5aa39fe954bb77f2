"""A run that is made longer has the bits of one that was so long from the start; the history tells rate and time."""

import csv
import json
import math

import pytest
from conftest import SCRIPTS, assert_same_run, failing_short_run, short_run, snapshot

from training.errors import RunError
from training.run import Run


def steps(data_dir, out_dir, script, n, *more):
    return short_run(script, data_dir, out_dir, '--quiet', '--max_steps', n, *more)


@pytest.mark.parametrize('script', SCRIPTS)
@pytest.mark.parametrize('first', [4, 5])  # an evaluation is due after 4 steps, and after 5 it is the last one's alone
def test_a_finished_run_can_be_made_longer(quick, data_dir, tmp_path, script, first):
    more = [] if 'numpy' in script else ['--ema', '0.5', '--augment']
    whole = steps(data_dir, tmp_path / 'whole', script, 9, *more)
    steps(data_dir, tmp_path / 'run', script, first, *more)
    for n in (7, 9):
        history = steps(data_dir, tmp_path / 'run', script, n, '--resume', *more)
    assert history == whole
    assert_same_run(tmp_path / 'run', tmp_path / 'whole')
    config = json.loads((tmp_path / 'run' / 'config.json').read_text())
    assert config['flags']['max_steps'] == 9 and '--max_steps 9' in config['command']
    before = snapshot(tmp_path / 'run')
    steps(data_dir, tmp_path / 'run', script, 9, '--resume', *more)
    assert snapshot(tmp_path / 'run') == before


def test_a_run_of_epochs_can_be_made_longer(data_dir, tmp_path, quick):
    def epochs(out_dir, n, *more):
        return short_run('train_mlp_numpy', data_dir, tmp_path / out_dir, '--epochs', n, *more)

    whole = epochs('whole', 3)
    epochs('run', 1)
    assert epochs('run', 3, '--resume') == whole
    assert_same_run(tmp_path / 'run', tmp_path / 'whole')
    mixed = steps(data_dir, tmp_path / 'run', 'train_mlp_numpy', 13, '--resume')
    assert mixed[-1]['step'] == 13


def test_a_run_cut_off_while_it_becomes_longer_keeps_its_summary_and_goes_on(quick, data_dir, tmp_path, monkeypatch):
    whole = steps(data_dir, tmp_path / 'whole', 'train_mlp_numpy', 9)
    steps(data_dir, tmp_path / 'run', 'train_mlp_numpy', 5)
    summary = (tmp_path / 'run' / 'summary.json').read_bytes()
    after_step = Run.after_step

    def diverge(self, loss, accuracy):
        after_step(self, math.inf if self.step == 6 else loss, accuracy)

    with monkeypatch.context() as patch:
        patch.setattr(Run, 'after_step', diverge)
        with pytest.raises(RunError, match='loss is inf at step 7'):
            steps(data_dir, tmp_path / 'run', 'train_mlp_numpy', 9, '--resume')
    assert (tmp_path / 'run' / 'summary.json').read_bytes() == summary
    assert steps(data_dir, tmp_path / 'run', 'train_mlp_numpy', 9, '--resume') == whole
    assert_same_run(tmp_path / 'run', tmp_path / 'whole')


def test_a_schedule_that_depends_on_the_length_keeps_a_run_from_becoming_longer(quick, capsys, data_dir, tmp_path):
    schedule = ['--lr_schedule', 'cosine']
    steps(data_dir, tmp_path, 'train_mlp_pytorch', 4, *schedule)
    before = snapshot(tmp_path)
    longer = ['--max_steps', '9', '--resume', *schedule]
    status, line = failing_short_run(capsys, 'train_mlp_pytorch', data_dir, tmp_path, *longer)
    assert status == 2 and 'cosine' in line and 'depends on the length, 4 steps' in line
    assert snapshot(tmp_path) == before


def test_a_run_becomes_no_shorter_and_nothing_else_changes_with_its_length(quick, capsys, data_dir, tmp_path):
    steps(data_dir, tmp_path, 'train_mlp_numpy', 4)
    before = snapshot(tmp_path)
    for more, named in [
        (['--max_steps', '3'], '--max_steps is 4'),
        (['--max_steps', '9', '--seed', '1'], '--seed is 42'),
    ]:
        status, line = failing_short_run(capsys, 'train_mlp_numpy', data_dir, tmp_path, *more, '--resume')
        assert status == 2 and named in line
    assert snapshot(tmp_path) == before


def test_the_history_tells_the_rate_of_each_step_and_the_seconds(quick, data_dir, tmp_path):
    steps(data_dir, tmp_path / 'cosine', 'train_mlp_pytorch', 4, '--lr_schedule', 'cosine')
    steps(data_dir, tmp_path / 'numpy', 'train_mlp_numpy', 4)
    for name, expected in [
        ('cosine', [0.01 * (1 + math.cos(math.pi * t / 4)) / 2 for t in (1, 3)]),
        ('numpy', [0.01] * 2),
    ]:
        with open(tmp_path / name / 'history.csv', newline='') as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0])[-2:] == ['learning_rate', 'seconds']
        assert [float(row['learning_rate']) for row in rows] == pytest.approx(expected)  # of steps 2 and 4
        seconds = [float(row['seconds']) for row in rows]
        total = json.loads((tmp_path / name / 'summary.json').read_text())['seconds']
        assert 0 < seconds[0] <= seconds[1] <= total
