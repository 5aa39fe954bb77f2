"""Turn results/ into the tables of the README and its picture: python experiments/results.py

results/NAME/seedS/ holds config.json, history.csv and summary.json of a run. A row of the table is a NAME: mean and
standard deviation over its seeds of the test accuracy at the last step, and the shortest wall time: the one that other
work on the machine disturbed least.
results/benchmarks/ holds what the benchmarks printed.
"""

import csv
import json
import shlex
import statistics
from pathlib import Path

from table import table

ROOT = Path(__file__).resolve().parent.parent
TITLES = {
    'mlp_numpy': 'MLP in NumPy (1.2)',
    'mlp_pytorch': 'MLP in PyTorch (2)',
    'convnet_pytorch': 'ConvNet (4)',
}
HEADER = ['network', 'test accuracy %', 'seeds', 'steps', 'seconds, fastest seed', 'hardware', 'command']
BENCHMARKS = ['numpy_mlp', 'batchnorm', 'convnet', 'scaling']


def runs(name):
    """The (config, summary, history) of each seed of results/NAME."""
    found = []
    for run in sorted((ROOT / 'results' / name).glob('seed*')):
        with open(run / 'history.csv', newline='') as file:
            history = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        texts = [(run / part).read_text() for part in ('config.json', 'summary.json')]
        found.append((*map(json.loads, texts), history))
    return found


def mean_and_deviation(values, digits):
    """'mean ± deviation', or the value alone if there is just one."""
    deviation = f' ± {statistics.stdev(values):.{digits}f}' if len(values) > 1 else ''
    return f'{statistics.mean(values):.{digits}f}{deviation}'


def shared_command(configs):
    """The command of the seeds without the flags that do not change what is computed, and without the seed."""
    words = [word for word in shlex.split(configs[0]['command']) if word not in ('--quiet', '--resume')]
    for flag in ('--seed', '--out_dir'):
        if flag in words:
            i = words.index(flag)
            del words[i : i + 2]
    return shlex.join(words)


def row(name):
    configs, summaries, _ = zip(*runs(name), strict=True)
    hardware = configs[0]['hardware']
    return [
        TITLES[name],
        mean_and_deviation([100 * s['test_accuracy'] for s in summaries], 2),
        f'{len(summaries)}',
        f'{summaries[0]["step"]}',
        f'{min(s["seconds"] for s in summaries):.1f}',
        (hardware.get('gpus') or [f'{hardware["cpu"]}, {hardware["cores"]} cores'])[0],
        f'`{shared_command(configs)}`',
    ]


def names():
    return [name for name in TITLES if (ROOT / 'results' / name).is_dir()]


def filled(text, block, content):
    """The text with new content between the two comments that mark a block."""
    start, end = f'<!-- {block}: written by experiments/results.py -->\n', f'<!-- end of {block} -->\n'
    before, _, rest = text.partition(start)
    return before + start + content + end + rest.partition(end)[2]


def precisions():
    """A sentence: the ConvNet in bf16 and in float32, at the last step of the float32 runs."""
    step = runs('convnet_pytorch_fp32')[0][1]['step']
    found = []
    for name in ('convnet_pytorch', 'convnet_pytorch_fp32'):
        rows = [next(r for r in history if r['step'] == step) for _, _, history in runs(name)]
        found.append(f'{mean_and_deviation([100 * r["test_accuracy"] for r in rows], 2)} % ({len(rows)} seeds)')
    return f'The ConvNet at step {step}: test accuracy {found[0]} in bf16, {found[1]} in float32.\n'


def readme(text):
    """The README with the table of results/ and the output of the benchmarks in their places."""
    outputs = ''
    for name in BENCHMARKS:
        output = (ROOT / 'results' / 'benchmarks' / f'{name}.txt').read_text(encoding='utf-8')
        outputs += (
            f'<details><summary><code>python benchmarks/{name}.py</code></summary>\n\n```\n{output}```\n\n</details>\n'
        )
    text = filled(text, 'results', table([HEADER, *map(row, names())]) + '\n')
    return filled(filled(text, 'benchmarks', outputs), 'precisions', precisions())


def plot(path):
    """Draws the test accuracy of each network against the step, a thin line a seed."""
    from matplotlib.figure import Figure

    shown = names()
    figure = Figure(figsize=(8, 2.8), layout='constrained')
    for axes, name, color in zip(
        figure.subplots(1, len(shown), sharey=True), shown, ('tab:orange', 'tab:green', 'tab:blue'), strict=True
    ):
        for _, _, history in runs(name):
            steps = [r['step'] for r in history]
            axes.plot(steps, [r['test_accuracy'] for r in history], color=color, lw=1)
            axes.plot(steps, [r['train_accuracy'] for r in history], color='0.6', lw=1, zorder=0)
        axes.set(title=TITLES[name], xlabel='step', ylim=(0, 1))
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
        axes.plot([], color=color, label='test')
        axes.plot([], color='0.6', label='train')
        axes.legend(frameon=False, loc='upper left', ncols=2)
    figure.axes[0].set_ylabel('accuracy on CIFAR-10')
    figure.savefig(path, dpi=120)


def main():
    path = ROOT / 'README.md'
    path.write_text(readme(path.read_text(encoding='utf-8')), encoding='utf-8')
    plot(ROOT / 'docs' / 'results.png')


if __name__ == '__main__':
    main()
