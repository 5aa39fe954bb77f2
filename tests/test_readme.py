"""The README promises what is there: its figures are those of results/, its links and flags exist."""

import json
import re
import statistics
import sys
from pathlib import Path

import pytest

import train_convnet_pytorch
import train_mlp_numpy
import train_mlp_pytorch
from train_utils import NOT_COMPUTED_WITH

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / 'README.md').read_text(encoding='utf-8')
sys.path.insert(0, str(ROOT / 'experiments'))
import results  # noqa: E402


def test_the_table_is_what_results_hold():
    assert results.readme(README) == README, 'run python experiments/results.py'


def test_a_row_is_the_mean_of_the_last_step_over_the_seeds():
    summaries = [json.loads(path.read_text()) for path in (ROOT / 'results' / 'mlp_numpy').glob('*/summary.json')]
    accuracies = [100 * summary['test_accuracy'] for summary in summaries]
    expected = f'{statistics.mean(accuracies):.2f} ± {statistics.stdev(accuracies):.2f}'
    assert results.row('mlp_numpy')[1] == expected
    assert results.row('mlp_numpy')[2] == str(len(accuracies))


@pytest.mark.parametrize('name', results.names())
def test_seeds_of_a_row_differ_in_nothing_else(name):
    flags = [
        {key: value for key, value in config['flags'].items() if key not in NOT_COMPUTED_WITH}
        for config, _, _ in results.runs(name)
    ]
    seeds = [f.pop('seed') for f in flags]
    assert len(seeds) >= 3 and len(set(seeds)) == len(seeds)
    assert all(f == flags[0] for f in flags)
    assert all(f['dataset'] == 'cifar10' and f['validation_size'] == 0 for f in flags)


@pytest.mark.parametrize('name', results.names())
def test_the_summary_is_the_last_row_of_the_history(name):
    for config, summary, history in results.runs(name):
        assert summary['step'] == history[-1]['step'] == config['flags']['max_steps']
        assert summary['test_accuracy'] == history[-1]['test_accuracy']


def test_the_numpy_run_stays_within_400_mb():
    assert all(summary['peak_memory_mb'] <= 400 for _, summary, _ in results.runs('mlp_numpy'))


def flags_of(*scripts):
    return {f'--{name}' for script in scripts for name in vars(script.parse_flags([]))}


def test_every_flag_in_the_text_exists():
    text = README.split('<!-- end of results -->')[1]
    known = flags_of(train_mlp_numpy, train_mlp_pytorch, train_convnet_pytorch)
    known |= {'--help', '--checkpoint', '--nproc_per_node', '--no-install-recommends'}
    assert set(re.findall(r'--[a-z][\w-]+', text)) <= known


def test_every_flag_stands_in_the_text_where_it_belongs():
    text = README.partition('## Flags')[2].partition('## Data')[0]
    rows = dict(re.findall(r'^\| ([^|]+?) +\| ([^|]*)', text, re.MULTILINE))
    told = {name: set(re.findall(r'--\w+', flags)) for name, flags in rows.items()}
    both = flags_of(train_mlp_pytorch) & flags_of(train_convnet_pytorch)
    everywhere = both & flags_of(train_mlp_numpy)
    assert told['every script'] == everywhere
    assert told['both PyTorch scripts'] == both - everywhere
    assert told['both MLPs'] == (flags_of(train_mlp_numpy) & flags_of(train_mlp_pytorch)) - everywhere
    assert told['NumPy MLP'] == flags_of(train_mlp_numpy) - flags_of(train_mlp_pytorch)
    assert told['PyTorch MLP'] == flags_of(train_mlp_pytorch) - both - told['both MLPs']
    assert told['ConvNet'] == flags_of(train_convnet_pytorch) - both


def test_every_link_leads_to_a_file():
    links = re.findall(r'\]\((?!http)([^)#]+)\)', README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_requirements_are_explained():
    text = README.partition('## Dependencies')[2]
    for file in ('requirements.txt', 'requirements-dev.txt'):
        for line in (ROOT / file).read_text().splitlines():
            if not line.startswith('-r'):
                assert re.search(rf'\b{re.split("[><=]", line)[0]}\b', text), line
