"""The ladder does each missing run once, however many workers share it, and does those of a dead worker again."""

import argparse
import contextlib
import json
import sqlite3
import subprocess
import sys
import threading
import time

import optuna
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / 'experiments'))
import ladder
import rows

from training.errors import UsageError

WORKER = """
import sys
sys.path.insert(0, 'experiments')
import pathlib, ladder, rows
folder, ladder.HEARTBEAT = pathlib.Path(sys.argv[1]), int(sys.argv[2])
ladder.RESULTS, ladder.RUNS = folder / 'results', folder / 'runs'
ladder.ROWS = {'tiny': rows.Row('train_mlp_numpy.py', sys.argv[3], seeds=4)}
ladder.work(f'sqlite:///{folder}/ladder.db', ladder.runs('tiny'))
"""


def worker(folder, data_dir, heartbeat=30):
    flags = f'--max_steps 20 --eval_freq 10 --batch_size 10 --quiet --data_dir {data_dir}'
    command = [sys.executable, '-c', WORKER, str(folder), str(heartbeat), flags]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def trials(folder):
    study = optuna.load_study(study_name='ladder', storage=f'sqlite:///{folder}/ladder.db')
    return [(trial.state.name, trial.user_attrs.get('run')) for trial in study.get_trials()]


def test_two_workers_share_the_runs(easy_data_dir, tmp_path):
    study = ladder.open_study(f'sqlite:///{tmp_path}/ladder.db')
    study.enqueue_trial({}, user_attrs={'run': 'gone/seed42'})  # of a row that somebody has taken out since
    workers = [worker(tmp_path, easy_data_dir) for _ in range(2)]
    outputs = [w.communicate(timeout=300)[0] for w in workers]
    assert [w.returncode for w in workers] == [0, 0], outputs
    expected = [f'tiny/seed{seed}' for seed in (42, 43, 44, 45)]
    assert sorted(run for state, run in trials(tmp_path) if state == 'COMPLETE') == expected
    for run in expected:
        config = json.loads((tmp_path / 'results' / run / 'config.json').read_text())
        assert str(config['flags']['seed']) == run[-2:]
        assert json.loads((tmp_path / 'results' / run / 'summary.json').read_text())['step'] == 20
        assert (tmp_path / 'results' / run / 'history.csv').exists()
    before = trials(tmp_path)
    last = worker(tmp_path, easy_data_dir)
    last.communicate(timeout=300)
    assert [run for _, run in trials(tmp_path)[len(before) :]] == [None]  # found nothing to do


def test_a_run_goes_to_one_worker(tmp_path):
    study = ladder.open_study(f'sqlite:///{tmp_path}/ladder.db')
    for run in ('first', 'second'):
        study.enqueue_trial({}, user_attrs={'run': run})
    taken = []
    asking = threading.Thread(target=lambda: taken.append(study.ask().user_attrs['run']))
    with contextlib.closing(sqlite3.connect(tmp_path / 'ladder.db', isolation_level=None)) as other:
        other.execute('BEGIN IMMEDIATE')  # another worker is about to take the first run
        with pytest.warns(UserWarning, match='Heartbeat'):  # which only a whole worker sends
            asking.start()
            time.sleep(1)
            other.execute("UPDATE trials SET state = 'RUNNING' WHERE number = 0")
            other.execute('COMMIT')
            asking.join()
    assert taken == ['second']


def test_the_run_of_a_dead_worker_is_done_again(easy_data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(ladder, 'HEARTBEAT', 1)
    study = ladder.open_study(f'sqlite:///{tmp_path}/ladder.db')
    study.enqueue_trial({}, user_attrs={'run': 'tiny/seed43'})
    with pytest.warns(UserWarning, match='Heartbeat'):  # which only a whole worker sends
        trial = study.ask()
    study._storage.record_heartbeat(trial._trial_id)  # a worker has begun, and is never heard of again
    time.sleep(4)
    one = worker(tmp_path, easy_data_dir, heartbeat=1)
    output = one.communicate(timeout=300)[0]
    assert one.returncode == 0, output
    assert ('FAIL', 'tiny/seed43') in trials(tmp_path)
    assert sorted(run for state, run in trials(tmp_path) if state == 'COMPLETE').count('tiny/seed43') == 1
    assert all((tmp_path / 'results' / 'tiny' / f'seed{seed}' / 'summary.json').exists() for seed in range(42, 46))


def test_an_unknown_row_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['ladder.py', 'nonesuch'])
    with pytest.raises(SystemExit) as error:
        ladder.parse_flags()
    assert error.value.code == 2 and "no row 'nonesuch'" in capsys.readouterr().err


@pytest.mark.parametrize('storage', ['nonsense', '', 'sqlite:////nonesuch/ladder.db', 'nonesuch://host/ladder'])
def test_a_storage_that_cannot_be_opened_is_one_line(storage, tmp_path, monkeypatch):
    monkeypatch.setattr(ladder, 'RUNS', tmp_path)
    with pytest.raises(UsageError, match='--storage') as error:
        ladder.work(storage, ['mlp_numpy/seed42'])
    assert '\n' not in str(error.value)


def test_the_table_shows_what_is_done(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ladder, 'RESULTS', tmp_path)
    flags = {'whole': '--flag', 'part': '--validation_size 5000', 'none': '--flag'}
    monkeypatch.setattr(ladder, 'ROWS', {name: rows.Row('train.py', words, 2) for name, words in flags.items()})
    accuracies = {'whole/seed42': 0.5, 'whole/seed43': 0.6, 'part/seed43': 0.7}
    for run, accuracy in accuracies.items():
        part = 'test' if run.startswith('whole') else 'validation'
        ladder.keep(run, {'summary.json': json.dumps({'test_accuracy': 0.1, f'{part}_accuracy': accuracy})})
    ladder.climb(argparse.Namespace(rows=['whole'], list=False))
    ladder.climb(argparse.Namespace(rows=[], list=True))
    lines = [[cell.strip() for cell in line.split('|')[1:-1]] for line in capsys.readouterr().out.splitlines()]
    whole = ['whole', '2 of 2', '55.00 ± 7.07', 'test', 'train.py --flag']
    assert lines[2] == lines[5] == whole
    assert lines[6] == ['part', '1 of 2', '70.00', 'validation', 'train.py --validation_size 5000']
    assert lines[7] == ['none', '0 of 2', '', 'test', 'train.py --flag']


def test_a_list_whose_reader_goes_away():
    command = f'{sys.executable} experiments/ladder.py --list | head -1'
    result = subprocess.run(['sh', '-c', command], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.stdout.count('\n') == 1 and 'Traceback' not in result.stderr
