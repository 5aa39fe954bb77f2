"""Turn results/ into RESULTS.md, the tables of README and docs/, and their pictures: python experiments/results.py

results/NAME/seedS/ holds config.json, history.csv and summary.json of a run. A row of a table is a NAME: mean and
standard deviation over its seeds of the accuracy at the last step, and the shortest wall time, the one that other work
on the machine disturbed least, with its hardware. rows.py says which names there are. results/benchmarks/ holds what
benchmarks printed, results/checks/ what the checks of the checks did.
"""

import argparse
import csv
import functools
import json
import math
import shlex
import statistics
import sys
import textwrap
from pathlib import Path

import numpy as np
import torch
from rows import COLORS, LADDER, NETWORKS, STEPS, TRAINING_COLOR
from table import mean_and_deviation, table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from cifar10_utils import N_CLASSES, N_PIXELS  # noqa: E402
from convnet_pytorch import ConvNet  # noqa: E402
from experiments import best_convnet, best_mlp  # noqa: E402
from mlp_pytorch import MLP  # noqa: E402

COSTS = ['PFLOP', 'seconds, fastest seed', 'hardware', 'command']
HEADER = ['network', 'test accuracy %', 'with mirror image %', 'over six views %', 'seeds', *COSTS]
# Who printed results/FOLDER/NAME.txt: {FOLDER: {NAME: command}}.
PRINTED = {
    'benchmarks': {
        'numpy_mlp': 'python benchmarks/numpy_mlp.py',
        'batchnorm': 'python benchmarks/batchnorm.py',
        'convnet': 'python benchmarks/convnet.py --repeats 25',
        'convnet_amx': 'python benchmarks/convnet.py --repeats 25, on a CPU with AMX',
        'convnet_without_bf16': 'python benchmarks/convnet.py, on a CPU without bfloat16',
        'scaling': 'python benchmarks/scaling.py',
        'back_to_back': 'python benchmarks/back_to_back.py --repeats 3',
        'device': 'python benchmarks/device.py',
        'speedrun_gpu': 'python experiments/speedrun.py with --seed 42 and 43, on one NVIDIA H200',
    },
    'checks': {
        'mutants': 'make mutants',
        'usual_check': 'python tests/mutants.py --usual',
        'mistakes': 'python tests/make_mistakes.py',
        'kill': 'python tests/kill.py',
        'fuzz': 'python tests/fuzz.py',
        'versions': 'pytest -W default, with the oldest versions that requirements.txt admits; pytest, with the newest',
    },
}


def runs(name):
    """The (config, summary, history) of each seed of results/NAME."""
    found = []
    for run in sorted((ROOT / 'results' / name).glob('seed*')):
        with open(run / 'history.csv', newline='') as file:
            history = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        texts = [(run / part).read_text() for part in ('config.json', 'summary.json')]
        found.append((*map(json.loads, texts), history))
    return found


def fastest(name):
    """The config and summary of the seed that took the shortest time."""
    config, summary, _ = min(runs(name), key=lambda run: run[1]['seconds'])
    return config, summary


def shared_command(config):
    """The command of a seed without the flags that do not change what is computed, and without the seed."""
    words = [word for word in shlex.split(config['command']) if word not in ('--quiet', '--resume')]
    for flag in ('--seed', '--out_dir'):
        if flag in words:
            i = words.index(flag)
            del words[i : i + 2]
    return shlex.join(words)


@functools.cache
def flops(hidden, muon=False, whiten=False, side=32):
    """FLOPs of an MLP with these hidden units, or of the ConvNet: forward and both ways an image, and of an update."""
    with torch.device('meta'):
        model = ConvNet(3, N_CLASSES) if hidden is None else MLP(N_PIXELS, hidden, N_CLASSES, init='pytorch')
        if whiten:
            model = nn.Sequential(best_mlp.Whitening(N_PIXELS), model)
        x = torch.empty(2, 3, side, side)
    counters = [FlopCounterMode(display=False) for _ in range(3)]
    with counters[0], torch.no_grad():
        model(x)
    with counters[1]:
        model(x).sum().backward()
    if muon:  # the other updates have no matrix products
        with counters[2]:
            best_convnet.make_optimizer(model, 0.1).step()
    forward, both, update = (counter.get_total_flops() for counter in counters)
    return forward / len(x), both / len(x), update


def pflop(config, summary, history, step=None):
    """10^15 floating point operations of a run until after this step, by default its last: training and evaluations.

    Counted are matrix products and convolutions.
    """
    last = summary['step']
    step = last if step is None else step
    if 'pflop' in summary:  # the speedrun: counted by itself, evaluated once
        return summary['pflop']
    flags, is_best_convnet = config['flags'], 'best_convnet.py' in config['command']
    hidden = tuple(flags['dnn_hidden_units']) if 'dnn_hidden_units' in flags else None
    whiten = flags.get('whiten', 0) > 0
    forward, both, update = flops(hidden, is_best_convnet, whiten)
    small = min(step, math.ceil(best_convnet.SMALL_UNTIL * last)) if is_best_convnet else 0
    trained = (step - small) * both
    if small:
        trained += small * flops(hidden, True, side=best_convnet.SMALL)[1]
    evaluated = sum(row['step'] <= step for row in history) * (10_000 + flags['validation_size'])
    if hidden is None and step == last:  # the test images once more for the confusion matrix, and for two and six views
        evaluated += 10_000 * (1 + (2 + 6) * is_best_convnet)
    covariance = 2 * N_PIXELS**2 * (50_000 - flags['validation_size']) if whiten else 0
    return (flags['batch_size'] * trained + step * update + evaluated * forward + covariance) / 1e15


def percent(summaries, key):
    """Mean and standard deviation in percent, or '' where the runs do not have the figure."""
    if key not in summaries[0]:
        return ''
    return mean_and_deviation([100 * s[key] for s in summaries], 2)


def percent_mean(name, key):
    return 100 * statistics.mean(summary[key] for _, summary, _ in runs(name))


def hardware(config):
    found = config['hardware']
    cpu = found['cpu'].replace('(R)', '').removesuffix(' Processor')
    cores = '1 core' if found['cores'] == 1 else f'{found["cores"]} cores'
    return (found.get('gpus') or [f'{cpu}, {cores}'])[0]


def machine(config):
    """The hardware, and bf16 if that is what the run used of it."""
    return f'{hardware(config)}, bf16' if config['compute'].get('precision') == 'bf16' else hardware(config)


def costs(name):
    """The cells below COSTS."""
    config, summary = fastest(name)
    return [
        f'{statistics.mean(pflop(*run) for run in runs(name)):.2g}',
        np.format_float_positional(summary['seconds'], 3, fractional=False, trim='-'),
        machine(config),
        f'`{shared_command(config)}`',
    ]


def row(name):
    _, summaries, _ = zip(*runs(name), strict=True)
    return [
        NETWORKS[name].title,
        percent(summaries, 'test_accuracy'),
        percent(summaries, 'test_accuracy_flip'),
        percent(summaries, 'test_accuracy_tta'),
        f'{len(summaries)}',
        *costs(name),
    ]


def names():
    """The networks that results/ holds with all their seeds."""
    return [name for name, about in NETWORKS.items() if len(runs(name)) == about.seeds]


def ladder(rows, step_by_step=False):
    """Those of the rows that results/ holds: accuracy on the validation split, and the gain over the default.

    With `step_by_step`, the gain is that over the row above.
    """
    header = ['modification', 'validation accuracy %', 'gain', 'seeds', 'why', 'what came of it', *COSTS]
    lines, base = [], percent_mean('ladder/default', 'validation_accuracy')
    for name in filter(runs, rows):
        _, summaries, _ = zip(*runs(name), strict=True)
        mean = percent_mean(name, 'validation_accuracy')
        gain = f'{mean - base:+.1f}' if mean != base else ''
        base = mean if step_by_step else base
        about, accuracy = rows[name], percent(summaries, 'validation_accuracy')
        lines.append([about.title, accuracy, gain, f'{len(summaries)}', about.why, about.kept, *costs(name)])
    return table([header, *lines])


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


def outputs(folder):
    """What the programs of this folder printed, each below its command, to be unfolded; of a long table the end."""
    found = ''
    for name, command in PRINTED[folder].items():
        output = (ROOT / 'results' / folder / f'{name}.txt').read_text(encoding='utf-8')
        if output.count('\n') > 60:
            output = output.splitlines(keepends=True)[-1]
        found += f'<details><summary><code>{command}</code></summary>\n\n```\n{output}```\n\n</details>\n'
    return found


def duration(seconds):
    """In the unit that says most."""
    return f'{seconds:.0f} s' if seconds < 100 else f'{seconds / 60:.0f} min'


def front_row(name):
    """A row of the README's table."""
    (_, summaries, _), (config, quickest) = zip(*runs(name), strict=True), fastest(name)
    title, _, question = NETWORKS[name].title.partition(' (')
    accuracy, command = percent(summaries, 'test_accuracy'), f'`{shared_command(config)}`'
    return [title, question.rstrip(')'), accuracy, duration(quickest['seconds']), command]


def front():
    """The README's table, and what its figures mean."""
    rows = [['network', 'question', 'test accuracy %', 'time', 'command'], *map(front_row, names())]
    machines = {name: hardware(fastest(name)[0]) for name in names()}
    most = statistics.mode(machines.values())
    others = ''.join(f'; {NETWORKS[name].title.split(" (")[0]}: {it}' for name, it in machines.items() if it != most)
    seeds = [len(runs(name)) for name in names()]
    views = [percent([run[1] for run in runs(name)], 'test_accuracy_tta') for name in ('convnet_best', 'speedrun')]
    text = (
        f'Accuracy: last step, mean and standard deviation over {min(seeds)} to {max(seeds)} seeds. Time: fastest '
        f'seed, {most}{others}. With logits averaged over six views of each image: {views[0]} % (best ConvNet), '
        f'{views[1]} % (speedrun, whose length is what 94 % takes).'
    )
    return f'{table(rows)}\n\n{textwrap.fill(text, 120)}\n'


def demo():
    """How `make demo` ends."""
    return f'```\n{(ROOT / "results" / "demo.txt").read_text(encoding="utf-8")}```\n'


BLOCKS = {
    'README.md': {'demo': demo, 'results': front},
    'docs/benchmarks.md': {'benchmarks': lambda: outputs('benchmarks'), 'precisions': precisions},
    'docs/reliability.md': {'checks': lambda: outputs('checks')},
}


def page(name):
    """The text of a page with what results/ hold in its blocks."""
    text = (ROOT / name).read_text(encoding='utf-8')
    for block, content in BLOCKS[name].items():
        text = filled(text, block, content())
    return text


RESULTS = """# Results

Written by `python experiments/results.py` from [results/](results), which holds the configuration, history and summary
of every run; `python experiments/ladder.py` does the runs. Each figure is that of the last step, mean and standard
deviation over the seeds; what was chosen was chosen on 5,000 of the training images, kept apart (the reflected crops of
the best ConvNet and the end of its mixing: on 10,000), and then trained on all 50,000, but for the speedrun's length:
what it takes to reach 94 % of the test set over six views. PFLOP are 10^15 floating point operations of a whole run,
evaluations included, in matrix products and convolutions. Seconds are the shortest of the seeds, evaluations and plots
included, on the hardware beside them; other seeds of a row may have run on other machines. The accuracy with the mirror
image or over six views is that of logits averaged over so many views of each test image; it stands beside the plain
one, never in its place.

## The networks

{networks}

![Test accuracy against the operations of the training so far](docs/flops.png)

![Accuracy of the three default runs against the training step](docs/results.png)

{ceiling}
## The ladder of modifications (question 2)

One modification of the default MLP at a time, at its 1500 steps, with a learning rate chosen for it; the default's is
the assignment's. The accuracy is that on the 5,000 images kept apart.

{ladder}

Then added up: each row has the flags of those above it, its own added or in their place, and its gain over the row
above; that of the first is over the default.

{steps}
"""


def speedrun_rates():
    """GFLOP/s of each speedrun as a whole, and their shares in % of the machine's matrix product, where measured."""
    measured = [summary for _, summary, _ in runs('speedrun') if 'matrix_product_gflops' in summary]
    rates = [1e6 * s['pflop'] / s['seconds'] for s in measured]
    return rates, [100 * rate / s['matrix_product_gflops'] for rate, s in zip(rates, measured, strict=True)]


def ceiling():
    """A sentence: how close the speedrun comes to the machine's own matrix products."""
    rates, shares = speedrun_rates()
    return (
        f'The speedrun, from reading the data to the last figure, computes at {mean_and_deviation(rates, 0)} GFLOP/s, '
        f'{mean_and_deviation(shares, 0)} % of the rate of a 2048 x 2048 matrix product on the same machine, measured '
        f'beside each run ({len(rates)} seeds).\n'
    )


def results_page():
    """The text of RESULTS.md."""
    networks = table([HEADER, *map(row, names())])
    return RESULTS.format(networks=networks, ceiling=ceiling(), ladder=ladder(LADDER), steps=ladder(STEPS, True))


def flops_figure(size, title=''):
    """The test accuracy of each network on its way, against the operations so far: a line and a point a seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout='constrained')
    axes = figure.subplots()
    for name, marker in zip(names(), 'osDv^P*X', strict=False):
        color = COLORS[name]
        for run in runs(name):
            _, summary, history = run
            spent = [pflop(*run, row['step']) for row in history]
            axes.semilogx(spent, [100 * row['test_accuracy'] for row in history], color=color, lw=0.7, alpha=0.5)
            axes.semilogx(spent[-1], 100 * summary['test_accuracy'], marker, color=color, ms=5, alpha=0.8)
        axes.plot([], [], marker, color=color, label=NETWORKS[name].title)
    axes.plot([], [], color='0.5', lw=0.7, label='a seed on its way')
    axes.set(xlabel='operations so far [PFLOP, 10$^{15}$]', ylabel='test accuracy [%]', title=title)
    return _finished(figure, 'upper left')


def default_runs_figure(size):
    """Training and test accuracy of the three default runs against the step, a thin line a seed."""
    from matplotlib.figure import Figure

    shown = [name for name in ('mlp_numpy', 'mlp_pytorch', 'convnet_pytorch') if runs(name)]
    figure = Figure(figsize=size, layout='constrained')
    for axes, name in zip(figure.subplots(1, len(shown), sharey=True), shown, strict=True):
        for _, _, history in runs(name):
            steps = [r['step'] for r in history]
            axes.plot(steps, [100 * r['test_accuracy'] for r in history], color=COLORS[name], lw=1)
            axes.plot(steps, [100 * r['train_accuracy'] for r in history], color=TRAINING_COLOR, lw=1, zorder=0)
        axes.set(title=NETWORKS[name].title, xlabel='step', xlim=(0, None), ylim=(0, 100))
        axes.plot([], color=COLORS[name], label='test')
        axes.plot([], color=TRAINING_COLOR, label='training batches')
    figure.axes[0].set_ylabel('accuracy on CIFAR-10 [%]')
    return _finished(figure, 'lower right')


def _finished(figure, legend):
    """The figure in the one style of all pictures in docs/."""
    for axes in figure.axes:
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
        axes.legend(frameon=False, loc=legend)
    return figure


def main():
    argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0]).parse_args()
    for name in BLOCKS:
        (ROOT / name).write_text(page(name), encoding='utf-8')
    (ROOT / 'RESULTS.md').write_text(results_page(), encoding='utf-8')
    default_runs_figure((9, 2.8)).savefig(ROOT / 'docs' / 'results.png', dpi=120)
    title = 'CIFAR-10: what each network reaches, and what its training costs'
    flops_figure((8, 4), title).savefig(ROOT / 'docs' / 'flops.png', dpi=120)


if __name__ == '__main__':
    main()
