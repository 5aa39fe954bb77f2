"""The table of runs: seeds of a setting are one row, and only of one setting."""

import json
import sys

import pytest
from conftest import ROOT

from training.errors import RunError

sys.path.insert(0, str(ROOT / 'experiments'))
import table


def finished(folder, accuracy, **flags):
    folder.mkdir(parents=True)
    flags = {'dataset': 'shapes10', 'learning_rate': 0.1, 'out_dir': str(folder)} | flags
    (folder / 'config.json').write_text(json.dumps({'flags': flags}))
    summary = {'test_accuracy': accuracy, 'test_loss': 1.5, 'step': 20, 'seconds': 3.0, 'peak_memory_mb': 100}
    (folder / 'summary.json').write_text(json.dumps(summary))


def rows(capsys, *folders):
    table.show(table.parse_flags([*map(str, folders)]))
    lines = capsys.readouterr().out.splitlines()
    names, *found = [[cell.strip() for cell in line.strip('|').split('|')] for line in [lines[0], *lines[2:]]]
    return [dict(zip(names, line, strict=True)) for line in found]


def test_seeds_are_one_row_with_their_mean_and_deviation(capsys, tmp_path):
    for seed, accuracy in enumerate([0.5, 0.6, 0.7]):
        finished(tmp_path / 'mine' / f'seed{seed}', accuracy, seed=seed)
    finished(tmp_path / 'other', 0.25)
    for folders in [(tmp_path / 'mine').glob('*'), [tmp_path / 'mine']]:
        mine, other = rows(capsys, *folders, tmp_path / 'other')
        assert (mine['test accuracy %'], mine['seeds']) == ('60.00 ± 10.00', '3')
        assert (other['test accuracy %'], other['seeds']) == ('25.00', '')
        assert [run['run'] for run in (mine, other)] == [str(tmp_path / 'mine' / 'seed*'), str(tmp_path / 'other')]


def test_a_run_named_twice_counts_once(capsys, tmp_path):
    finished(tmp_path / 'mine' / 'seed1', 0.5, seed=1)
    (mine,) = rows(capsys, tmp_path / 'mine', tmp_path / 'mine' / 'seed1')
    assert (mine['test accuracy %'], mine['seeds']) == ('50.00', '1')


def test_no_mean_is_taken_over_two_settings(capsys, tmp_path):
    finished(tmp_path / 'mine' / 'seed1', 0.5, seed=1)
    finished(tmp_path / 'mine' / 'seed2', 0.5, seed=2, learning_rate=0.2)
    with pytest.raises(RunError, match=r'seed2 differs from .*seed1 in --learning_rate'):
        rows(capsys, tmp_path / 'mine')


@pytest.mark.parametrize('damage', ['[]', '{}', '', None])
def test_what_is_no_finished_run_is_named_and_the_others_shown(capsys, tmp_path, damage):
    for name in ('broken', 'good'):
        finished(tmp_path / name, 0.5)
    summary = tmp_path / 'broken' / 'summary.json'
    summary.unlink() if damage is None else summary.write_text(damage)
    with pytest.raises(RunError, match='broken holds no finished run'):
        rows(capsys, tmp_path / 'broken', tmp_path / 'good')
    assert f'| {tmp_path / "good"}' in capsys.readouterr().out
