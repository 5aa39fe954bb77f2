"""The figures of README.md, RESULTS.md and docs/ are those of results/, computed as they say."""

import json
import statistics
import sys
from pathlib import Path

import pytest

from training.folder import NOT_COMPUTED_WITH

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'experiments'))
import published  # noqa: E402

import results  # noqa: E402
from experiments import best_convnet  # noqa: E402


@pytest.mark.parametrize('name', results.BLOCKS)
def test_a_page_shows_what_results_hold(name):
    assert results.page(name) == (ROOT / name).read_text(encoding='utf-8'), 'run python experiments/results.py'


def test_the_results_page_is_what_results_hold():
    page = (ROOT / 'RESULTS.md').read_text(encoding='utf-8')
    assert results.results_page() == page, 'run python experiments/results.py'


def test_a_row_is_the_mean_of_the_last_step_over_the_seeds():
    summaries = [json.loads(path.read_text()) for path in (ROOT / 'results' / 'mlp_numpy').glob('*/summary.json')]
    accuracies = [100 * summary['test_accuracy'] for summary in summaries]
    expected = f'{statistics.mean(accuracies):.2f} ± {statistics.stdev(accuracies):.2f}'
    assert results.row('mlp_numpy')[1] == expected
    assert results.row('mlp_numpy')[results.HEADER.index('seeds')] == str(len(accuracies))


def test_a_time_stands_beside_the_machine_that_took_it(monkeypatch):
    def run(seed, cpu, cores, seconds):
        config = {'hardware': {'cpu': cpu, 'cores': cores}, 'compute': {}, 'command': f'python train.py --seed {seed}'}
        return config, {'step': 1, 'pflop': 0.5, 'seconds': seconds}, []

    for room in (published, results):
        monkeypatch.setattr(room, 'runs', lambda name: [run(42, 'slow', 2, 20.0), run(43, 'fast', 1, 10.0)])
    assert results.costs('row') == ['0.5', '10', 'fast, 1 core', '`python train.py`']


@pytest.mark.parametrize('name', published.names())
def test_seeds_of_a_row_differ_in_nothing_else(name):
    flags = [
        {key: value for key, value in config['flags'].items() if key not in NOT_COMPUTED_WITH}
        for config, _, _ in published.runs(name)
    ]
    seeds = [f.pop('seed') for f in flags]
    assert len(seeds) >= 3 and len(set(seeds)) == len(seeds)
    assert all(f == flags[0] for f in flags)
    assert all(f['dataset'] == 'cifar10' and f['validation_size'] == 0 for f in flags)


@pytest.mark.parametrize('name', published.names())
def test_the_summary_is_the_last_row_of_the_history(name):
    for config, summary, history in published.runs(name):
        assert summary['step'] == history[-1]['step']
        if not config['flags'].get('epochs'):
            assert summary['step'] == config['flags']['max_steps']
        assert summary['test_accuracy'] == history[-1]['test_accuracy']


def test_the_header_of_the_speedrun_states_what_was_measured():
    _, summaries, _ = zip(*published.runs('speedrun'), strict=True)
    text = ' '.join((ROOT / 'experiments' / 'speedrun.py').read_text(encoding='utf-8').split('"""')[1].split())
    assert f'{published.percent(summaries, "test_accuracy_tta")} % over six views' in text
    assert f'{published.percent(summaries, "test_accuracy")} % without' in text
    assert f'{len(summaries)} seeds' in text
    assert f'{statistics.mean(s["pflop"] for s in summaries):.3f} PFLOP' in text
    seconds = [s['seconds'] for s in summaries]
    assert f'in {min(seconds):.0f} to {max(seconds):.0f} s on' in text


def test_operations_are_counted_as_on_paper():
    """A linear layer of n weights takes 2 n FLOPs forward, and 2 n more for each gradient; the input needs none."""
    config, summary, history = published.runs('mlp_numpy')[0]
    first, second = 3072 * 100, 100 * 10
    steps = summary['step'] * config['flags']['batch_size'] * (4 * first + 6 * second)
    evaluations = len(history) * 10_000 * 2 * (first + second)
    assert published.pflop(config, summary, history) == pytest.approx((steps + evaluations) / 1e15, rel=1e-12)


def test_operations_of_small_images_are_counted_as_on_paper():
    """Each pool halves a side, rounded up: 24, 12, 6, 3, 2. All but the first layer have the gradient of the input."""
    layers = [(3 * 64, 24, 4), (64 * 128, 12, 6), (128 * 256, 6, 6), (256 * 256, 6, 6)]
    layers += [(256 * 512, 3, 6), (512 * 512, 3, 6), (512 * 512, 2, 6), (512 * 512, 2, 6)]
    step = sum(9 * weights * side**2 * flops for weights, side, flops in layers) + 512 * 10 * 6
    assert published.flops(None, side=24)[1] == step


def test_operations_on_the_way_are_those_of_the_steps_so_far(monkeypatch):
    """While the images are small, a run has spent what one with small images alone has; then steps cost more."""
    config, summary, history = published.runs('convnet_best')[0]
    last = summary['step']
    turn = int(best_convnet.SMALL_UNTIL * last)
    so_far = published.pflop(config, summary, history, turn)
    _, both, update = published.flops(None, True)
    step = (config['flags']['batch_size'] * both + update) / 1e15
    unevaluated = [row for row in history if row['step'] <= turn]
    on_large = published.pflop(config, summary, unevaluated, last - 1) - so_far
    assert on_large == pytest.approx((last - 1 - turn) * step, rel=1e-9)  # differences of float64 numbers
    assert published.pflop(config, summary, history, last) == published.pflop(config, summary, history)
    monkeypatch.setattr(best_convnet, 'SMALL_UNTIL', 1)
    assert so_far == published.pflop(config, summary, history, turn)


def test_operations_of_muon_are_counted_as_on_paper():
    """Filters (m, n), m <= n: two products of m m n for the Gram matrix and the end, and 9 of m m m between."""
    shapes = [(64, 27), (128, 576), (256, 1152), (256, 2304), (512, 2304), *[(512, 4608)] * 3]
    sides = [sorted(shape) for shape in shapes]
    assert published.flops(None, True)[2] == sum(4 * m * m * n + 18 * m**3 for m, n in sides)
    assert published.flops(None, False)[2] == 0


def test_the_numpy_run_stays_within_400_mb():
    assert all(summary['peak_memory_mb'] <= 400 for _, summary, _ in published.runs('mlp_numpy'))
