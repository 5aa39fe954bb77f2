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
    flags = [config['flags'] | {'out_dir': '', 'resume': None} for config, _, _ in results.runs(name)]
    seeds = [f.pop('seed') for f in flags]
    assert len(seeds) >= 3 and len(set(seeds)) == len(seeds)
    assert all(f == flags[0] for f in flags)
    assert all(f['dataset'] == 'cifar10' and f['validation_size'] == 0 for f in flags)


@pytest.mark.parametrize('name', results.names())
def test_the_summary_is_the_last_row_of_the_history(name):
    for config, summary, history in results.runs(name):
        assert summary['step'] == history[-1]['step'] == config['flags']['max_steps']
        assert summary['test_accuracy'] == history[-1]['test_accuracy']


def test_every_flag_in_the_text_exists():
    text = README.split('<!-- end of results -->')[1]
    known = {'--help', '--checkpoint', '--nproc_per_node'}
    for script in (train_mlp_numpy, train_mlp_pytorch, train_convnet_pytorch):
        known |= {f'--{name}' for name in vars(script.parse_flags([]))}
    assert set(re.findall(r'--[a-z]\w+', text)) <= known


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
