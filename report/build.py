"""Turn results/ into the figures, tables and numbers that report.tex reads: python report/build.py

All of it goes to report/generated/: figures as NAME.pdf, tables as NAME.tex, and numbers.tex, a TeX macro for each
number in the text. Equal inputs give equal bytes. What does not come from a run is counted or checked here, by code.
"""

import argparse
import csv
import inspect
import logging
import re
import statistics
import sys
import unittest
from decimal import Decimal
from pathlib import Path

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from torch.utils.flop_counter import FlopCounterMode

REPORT = Path(__file__).resolve().parent
sys.path[:0] = [str(REPORT.parent / folder) for folder in ('', 'experiments', 'benchmarks', 'docs')]

import equations  # noqa: E402
import networks  # noqa: E402
import published  # noqa: E402
import speedrun  # noqa: E402
from batchnorm import VERSIONS, saved_bytes  # noqa: E402
from pictures import flops_figure  # noqa: E402
from rows import LADDER, NETWORKS, STEPS  # noqa: E402
from table import mean_and_deviation  # noqa: E402

import unittests  # noqa: E402
from convnet_pytorch import ConvNet  # noqa: E402
from experiments import best_convnet  # noqa: E402
from experiments.muon import orthogonalised  # noqa: E402
from mlp_numpy import MLP  # noqa: E402
from modules import CrossEntropyModule, LinearModule  # noqa: E402

logging.getLogger('fontTools').setLevel(logging.ERROR)  # it wonders about the dates in cmr10.ttf

# Computer Modern, the text's own typeface, comes with matplotlib.
STYLE = {
    'font.family': 'cmr10',
    'mathtext.fontset': 'cm',
    'axes.formatter.use_mathtext': True,
    'font.size': 9,
    'legend.fontsize': 8.5,
    'pdf.fonttype': 42,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.linewidth': 0.6,
    'xtick.major.width': 0.6,
    'ytick.major.width': 0.6,
    'axes.grid': True,
    'grid.alpha': 0.25,
    'grid.linewidth': 0.5,
    'lines.linewidth': 1.2,
    'lines.markersize': 3,
}
# Told apart by line and marker when printed in grey.
DARK, LIGHT = {'color': '#12436d', 'ls': '-', 'marker': 'o'}, {'color': '#d97a3a', 'ls': '--', 'marker': 's'}


class MissingResult(Exception):
    """A run or a figure of it is not in results/."""


def runs(name):
    """The (config, summary, history) of each seed of results/NAME."""
    try:
        found = published.runs(name)
    except FileNotFoundError as error:
        raise MissingResult(f'{error.filename} is missing: repeat that run, or take its folder away') from error
    if not found:
        raise MissingResult(f'results/{name} is missing: run python experiments/ladder.py {name}')
    return found


def column(name, key):
    """Steps, and an array (seeds, evaluations) of one column of the history."""
    histories = [history for _, _, history in runs(name)]
    if key not in histories[0][0]:
        raise MissingResult(f'results/{name} has no {key} in its history')
    steps = [int(row['step']) for row in histories[0]]
    return steps, np.array([[row[key] for row in history] for history in histories])


def save(figure, path):
    figure.savefig(path, metadata={'Creator': None, 'Producer': None, 'CreationDate': None})


def line(axes, steps, values, label, style):
    """The mean over the seeds, in the band from the lowest to the highest."""
    axes.plot(steps, values.mean(axis=0), label=label, **style)
    axes.fill_between(steps, values.min(axis=0), values.max(axis=0), color=style['color'], alpha=0.2, lw=0)


def plot_curves(path, name):
    """Loss and accuracy of training batches and test set."""
    figure = Figure(figsize=(6.1, 1.95), layout='constrained')
    for axes, what in zip(figure.subplots(1, 2), ('loss', 'accuracy'), strict=True):
        for label, style in (('train', LIGHT), ('test', DARK)):
            steps, values = column(name, f'{label}_{what}')
            line(axes, steps, 100 * values if what == 'accuracy' else values, label, style)
        axes.set(
            xlabel='step', ylabel={'loss': 'cross entropy [nats]', 'accuracy': 'accuracy [%]'}[what], xlim=(0, None)
        )
        axes.legend(frameon=False)
    save(figure, path)


def twin_gap():
    """Steps, and |L_NumPy − L_PyTorch| / L_NumPy of the training loss, (seeds, evaluations)."""
    steps, ours = column('mlp_numpy', 'train_loss')
    _, theirs = column('mlp_pytorch', 'train_loss')
    return steps, np.abs(ours - theirs) / ours


def plot_twins(path):
    """Test accuracy of the NumPy and the PyTorch MLP, and the gap between their losses."""
    figure = Figure(figsize=(6.1, 1.95), layout='constrained')
    left, right = figure.subplots(1, 2)
    for name, label, style in (('mlp_numpy', 'NumPy', LIGHT), ('mlp_pytorch', 'PyTorch', DARK)):
        steps, values = column(name, 'test_accuracy')
        line(left, steps, 100 * values, label, style)
    left.set(xlabel='step', ylabel='test accuracy [%]', xlim=(0, None))
    left.legend(frameon=False)
    for values in twin_gap()[1]:
        right.semilogy(steps, values, **DARK)
    right.set(xlabel='step', ylabel='relative gap of the loss', xlim=(0, None))
    save(figure, path)


def confusion(name):
    """Names of the classes, the test images by seed, true and predicted class, (seeds, 10, 10), and their shares.

    The shares are of all seeds and of each true class, (10, 10).
    """
    counts = []
    for run in sorted((published.ROOT / 'results' / name).glob('seed*')):
        if not (run / 'confusion.csv').exists():
            raise MissingResult(f'results/{name}/{run.name}/confusion.csv is missing: repeat that run')
        with open(run / 'confusion.csv', newline='', encoding='utf-8') as file:
            (_, *names), *lines = csv.reader(file)
        counts.append([list(map(int, line[1:])) for line in lines])
    counts = np.array(counts)
    return names, counts, counts.sum(axis=0) / counts.sum(axis=(0, 2))[:, None]


def plot_layers(path):
    """Draws the ConvNet's layers."""
    figure = Figure(figsize=(6.1, 1.9), layout='constrained')
    networks.draw_convnet(figure.subplots(), 7)
    save(figure, path)


def plot_confusion(path, name):
    """The confusion matrix over all seeds, in percent."""
    names, _, shares = confusion(name)
    figure = Figure(figsize=(3.7, 3.3), layout='constrained')
    axes = figure.subplots()
    axes.imshow(shares, cmap='Greys', vmin=0, vmax=1)
    for (i, j), share in np.ndenumerate(shares):
        color = 'white' if share > 0.5 else 'black'
        axes.text(j, i, f'{100 * share:.0f}', ha='center', va='center', fontsize=7.5, color=color)
    axes.set_xticks(range(len(names)), names, rotation=45, ha='right', rotation_mode='anchor')
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel='predicted', ylabel='true')
    axes.grid(False)
    axes.tick_params(length=0)
    save(figure, path)


class Counted(np.ndarray):
    """An array whose operations are counted: FLOPs of products and of the rest, bytes read and written.

    A product of (m, k) and (k, n) has 2 m k n FLOPs, any other operation one per element. Each operation reads its
    arrays and writes its result once.
    """

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **kwargs):
        def plain(a):
            return a.view(np.ndarray) if isinstance(a, Counted) else a

        if out:
            kwargs['out'] = tuple(map(plain, out))
        result = getattr(ufunc, method)(*map(plain, inputs), **kwargs)
        arrays = [a for a in inputs if isinstance(a, np.ndarray)]
        if ufunc is np.matmul:
            Counted.tally['product'] += 2 * result.size * arrays[0].shape[-1]
        else:
            Counted.tally['other'] += max(a.size for a in (*arrays, result))
        Counted.tally['bytes'] += sum(a.nbytes for a in (*arrays, result))
        return out[0] if out else result.view(Counted) if isinstance(result, np.ndarray) else result

    @classmethod
    def count(cls, phase):
        """The tally of what a function computes."""
        cls.tally = {'product': 0, 'other': 0, 'bytes': 0}
        phase()
        return cls.tally


def step_cost(n_hidden, batch_size):
    """The tallies of a training step of question 1.2 in float32: {'forward', 'backward', 'update'}."""
    model, cross_entropy = MLP(3 * 32 * 32, n_hidden, 10, np.float32), CrossEntropyModule()
    for layer in model.linear_layers:
        layer.params = {name: param.view(Counted) for name, param in layer.params.items()}
    x = np.zeros((batch_size, 3 * 32 * 32), np.float32).view(Counted)
    y = np.zeros(batch_size, int)

    def forward():
        cross_entropy.forward(model.forward(x), y)

    def backward():
        model.backward(cross_entropy.backward(model.layers[-1].out, y))

    def update():
        for layer in model.linear_layers:
            for name, param in layer.params.items():
                layer.grads[name] *= np.float32(1)
                param -= layer.grads[name]

    return {phase.__name__: Counted.count(phase) for phase in (forward, backward, update)}


def convnet_layers():
    """A (name, output shape, parameters, FLOPs) for each row of Table 1 of the assignment, for one image."""
    model = ConvNet(3, 10).eval()
    rows, x = [], torch.zeros(1, 3, 32, 32)
    names = {
        torch.nn.Conv2d: 'convolution, BN, ReLU',
        torch.nn.MaxPool2d: 'max-pool',
        torch.nn.AvgPool2d: 'average pool',
        torch.nn.Linear: 'linear',
    }
    for layer in (*model.features, model.classifier):
        x = x.flatten(1) if isinstance(layer, torch.nn.Linear) else x
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            x = layer(x)
        name = next((name for kind, name in names.items() if isinstance(layer, kind)), None)
        parameters = sum(p.numel() for p in layer.parameters())
        if name:
            rows.append([name, tuple(x.shape[1:]), parameters, counter.get_total_flops()])
        else:  # batch normalisation and ReLU belong to the convolution before them
            rows[-1][2] += parameters
    return rows


def disagreements():
    """How far each slip of the errata is off, from the checks that tell it apart."""
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(equations.TestReportErrata)
    outcome = unittest.TestResult()
    suite.run(outcome)
    if not outcome.wasSuccessful():
        raise MissingResult('the checks of the errata fail: run python report/equations TestReportErrata')
    return equations.TestReportErrata.disagreement


def checks(prefix):
    """The report's checks by name: {name: function}."""
    return {name: check for c in equations.CHECKS for name, check in vars(c).items() if name.startswith(prefix)}


def grouped(number):
    """12345 as 12\\,345."""
    return f'{number:,}'.replace(',', r'\,')


def scientific(number):
    """2e-09 as $2\\cdot10^{-9}$."""
    mantissa, exponent = f'{number:.0e}'.split('e')
    factor = '' if mantissa == '1' else rf'{mantissa}\cdot'
    return f'${factor}10^{{{int(exponent)}}}$'


def spread(values, digits):
    """Mean and standard deviation, in math mode."""
    return '$' + mean_and_deviation(values, digits).replace('±', r'\pm') + '$'


def camel(text):
    return ''.join(word.capitalize() for word in re.split('[-_]', text))


def tabular(columns, header, rows, total=None):
    r"""A booktabs tabular; with `total`, the last row stands below a rule."""
    lines = [rf'\begin{{tabular}}{{{columns}}}', r'\toprule', ' & '.join(header) + r' \\', r'\midrule']
    lines += [' & '.join(row) + r' \\' for row in rows]
    if total:
        lines += [r'\midrule', ' & '.join(total) + r' \\']
    return '\n'.join([*lines, r'\bottomrule', r'\end{tabular}', ''])


def cost_table(cost):
    def cells(name, tally):
        flops = tally['product'] + tally['other']
        numbers = [tally['product'] / 1e6, tally['other'] / 1e6, tally['bytes'] / 1e6, flops / tally['bytes']]
        return [name, *(f'{number:.1f}' for number in numbers)]

    header = ['', 'products [MFLOP]', 'the rest [MFLOP]', 'moved [MB]', 'FLOP/byte']
    return tabular('lrrrr', header, [cells(*item) for item in cost.items()], cells('step', total(cost)))


def total(cost):
    return {key: sum(tally[key] for tally in cost.values()) for key in ('product', 'other', 'bytes')}


RUNS = {'mlp_numpy': 'MLP in NumPy', 'mlp_pytorch': 'MLP in PyTorch', 'convnet_pytorch': 'ConvNet'}


def runs_table():
    rows = []
    for name, title in RUNS.items():
        configs, summaries, _ = zip(*runs(name), strict=True)
        rows.append(
            [
                title,
                grouped(summaries[0]['step']),
                *(spread([100 * s[f'{part}_accuracy'] for s in summaries], 1) for part in ('train', 'test')),
                spread([s['test_loss'] for s in summaries], 3),
                grouped(round(statistics.median(s['seconds'] for s in summaries))),
                precision(configs[-1]),
                published.hardware(configs[-1]),
            ]
        )
    header = ['', 'steps', r'train [\%]', r'test [\%]', 'test loss', 'time [s]', 'precision', 'hardware']
    return tabular('lrcccrll', header, rows)


SECTIONS = {
    'mlp_numpy': 'sec:numpy',
    'mlp_pytorch': 'sec:pytorch',
    'convnet_pytorch': 'sec:convnet',
    'mlp_best': 'sec:pytorch',
    'convnet_best': 'sec:best-convnet',
    'speedrun': 'sec:speedrun',
}


def glance_table():
    """Each network: where it is described, how well it does, what its training costs."""
    rows = []
    for name, label in SECTIONS.items():
        _, summaries, _ = zip(*runs(name), strict=True)
        key = 'test_accuracy_tta' if 'test_accuracy_tta' in summaries[0] else 'test_accuracy'
        operations = statistics.mean(published.pflop(*run) for run in runs(name))
        rows.append(
            [
                rf'{NETWORKS[name].title.split(" (")[0]} (\ref{{{label}}})',
                spread([100 * s[key] for s in summaries], 2),
                np.format_float_positional(operations, 2, fractional=False, trim='-'),
            ]
        )
    return tabular('lcr', ['', r'test [\%]', 'PFLOP'], rows)


def precision(config):
    """Of the matrix products."""
    return {'fp32': 'float32', 'bf16': 'bfloat16'}.get(config['compute'].get('precision'), config['flags'].get('dtype'))


def convnet_table(layers):
    rows = [
        [name, r'$\times$'.join(map(str, shape)), grouped(n), f'{flops / 1e6:.2f}']
        for name, shape, n, flops in layers
        if n
    ]
    sums = [grouped(sum(row[2] for row in layers)), f'{sum(row[3] for row in layers) / 1e6:.2f}']
    return tabular('llrr', ['layer', 'output', 'parameters', 'MFLOP'], rows, ['total', '', *sums])


def memory_table(n, c):
    titles = {'autograd': 'elementary operations, autograd', 'manual': 'manual backward', 'native': 'PyTorch'}
    torch.manual_seed(0)
    x, rows = torch.randn(n, c, requires_grad=True), []
    for name, version in VERSIONS.items():
        saved = saved_bytes(version(c), x)
        rows.append([titles[name], f'{saved / 1e3:.1f}', f'{saved / (4 * n * c):.2f}'])
    return tabular('lrr', ['version', 'saved [kB]', 'in arrays of the size of the input'], rows)


def escaped(text):
    """Plain text as TeX."""
    return re.sub(r'([#$%&_{}])', r'\\\1', text)


def ladder_table():
    """The modifications of the default MLP, best first, below the default itself."""
    found = [ladder_row(name, about) for name, about in LADDER.items()]
    base, *others = found
    others.sort(key=lambda row: -row[0])
    return ladder_tabular([base, *others], [base] * len(found))


def steps_table():
    """The modifications that are added up, each with its gain over the one before."""
    found = [ladder_row(name, about) for name, about in STEPS.items() if published.runs(name)]
    return ladder_tabular(found, [ladder_row('ladder/default', LADDER['ladder/default']), *found[:-1]])


def ladder_row(name, about):
    accuracies = [100 * summary['validation_accuracy'] for _, summary, _ in runs(name)]
    return statistics.mean(accuracies), spread(accuracies, 1), about


def ladder_tabular(found, bases):
    """A line for each row, with its gain over one of `bases`."""
    lines = []
    for (mean, accuracy, about), (base, _, _) in zip(found, bases, strict=True):
        gain = f'${mean - base:+.1f}$' if mean != base else ''
        lines.append([escaped(about.title), accuracy, gain, escaped(about.why), escaped(about.kept)])
    ragged = r'>{\raggedright\arraybackslash}p'
    header = ['modification', r'validation [\%]', 'gain', 'why', 'what came of it']
    return tabular(f'lrr{ragged}{{36mm}}{ragged}{{52mm}}', header, lines)


def printed(folder, name):
    """The lines of results/FOLDER/NAME.txt, which some program printed."""
    path = published.ROOT / 'results' / folder / f'{name}.txt'
    if not path.exists():
        command = published.PRINTED[folder][name]
        raise MissingResult(f'results/{folder}/{name}.txt is missing: put there what `{command}` prints')
    return path.read_text(encoding='utf-8').splitlines()


def times_table():
    """The times of benchmarks/batchnorm.py, a row for each shape, and their ratios."""
    times = {}
    for line in printed('benchmarks', 'batchnorm'):
        if match := re.match(r'\| (\d+) x (\d+) \| (\w+) \| ([\d.]+)', line):
            times.setdefault((match[1], match[2]), {})[match[3]] = float(match[4])
    rows = []
    for (n, c), t in times.items():
        ratios = t['autograd'] / t['manual'], t['manual'] / t['native']
        milliseconds = (f'{t[version]:.2f}' for version in VERSIONS)
        rows.append([rf'${n}\times{c}$', *milliseconds, *(f'{ratio:.1f}' for ratio in ratios)])
    header = ['', 'autograd [ms]', 'manual [ms]', "PyTorch's [ms]", 'autograd / manual', "manual / PyTorch's"]
    return tabular('lrrrrr', header, rows)


def matrix_product_shares():
    """For each size of benchmarks/numpy_mlp.py, {contender: (share of the ceiling in %, time / ours)}."""
    sizes = []
    for line in printed('benchmarks', 'numpy_mlp'):
        if line.startswith('hidden'):
            sizes.append({})
        elif match := re.match(r'(\S.*?) {2,}[\d.]+ +\d+ +(\d+)% *([\d.]*)$', line):
            sizes[-1][match[1]] = match[2], match[3]
    return sizes


def mutants(name):
    """Mutants and killed ones of each file, from what tests/mutants.py printed: {file: (mutants, killed)}."""
    found = {}
    for line in printed('checks', name):
        if match := re.match(r'\| (\w+\.py) \| (\d+) \| (\d+) \|', line):
            found[match[1]] = int(match[2]), int(match[3])
    return found


def share_killed(counts):
    return f'{100 * sum(killed for _, killed in counts) / sum(made for made, _ in counts):.0f}'


def check_numbers():
    """What the checks of the checks found."""
    ours, usual = mutants('mutants'), mutants('usual_check')
    gradients = [ours[file] for file in usual]
    rest = [count for file, count in ours.items() if file not in usual]
    runs, seconds = re.match(r'Done (\d+) runs in (\d+)', printed('checks', 'fuzz')[0]).groups()
    kills = [line.split('|')[2] for line in printed('checks', 'kill') if 'the same bits' in line]
    caught, made = re.match(r'(\d+) of (\d+) mistakes', printed('checks', 'mistakes')[-1]).groups()
    return {
        'mutants': str(sum(made for made, _ in gradients)),
        'mutantsKilled': share_killed(gradients),
        'mutantsUsual': share_killed(list(usual.values())),
        'mutantsRest': str(sum(made for made, _ in rest)),
        'mutantsRestKilled': share_killed(rest),
        'mistakes': made,
        'mistakesCaught': caught,
        'fuzzInputs': grouped(int(runs)),
        'fuzzMinutes': f'{int(seconds) / 60:.0f}',
        'kills': str(sum(map(int, kills))),
        'killedScripts': str(len(kills)),
    }


def speedrun_numbers():
    configs, summaries, _ = zip(*runs('speedrun'), strict=True)
    (small, epochs), *_ = speedrun.PHASES
    whole = sum(epochs for _, epochs in speedrun.PHASES)
    back_to_back = printed('benchmarks', 'back_to_back')
    seconds = {
        name: [int(re.search(r'(\d+) s ', line)[1]) for line in back_to_back if f'{name}.py ' in line]
        for name in ('speedrun', 'train_convnet_pytorch')
    }
    return {
        'speedChannels': str(max(p.shape[0] for p in speedrun.SpeedNet(10).parameters())),
        'speedPatch': str(speedrun.SpeedNet(10).whiten.weight[0].numel()),
        'speedBatch': str(configs[0]['flags']['batch_size']),
        'speedSmallSide': str(small),
        'speedSmallShare': f'{100 * epochs / whole:.0f}',
        'speedHard': f'{100 * speedrun.HARD_SHARE:.0f}',
        'speedViews': spread([100 * s['test_accuracy_tta'] for s in summaries], 2),
        'speedPlain': spread([100 * s['test_accuracy'] for s in summaries], 2),
        'speedSeeds': str(len(summaries)),
        'speedPflop': f'{statistics.mean(s["pflop"] for s in summaries):.2f}',
        'speedSeconds': f'{min(s["seconds"] for s in summaries):.0f}',
        'speedRatio': re.search(r': ([\d.]+) times', back_to_back[-1])[1],
        'speedPairs': str(len(seconds['speedrun'])),
        'speedTogether': f'{statistics.median(seconds["speedrun"]):.0f}',
        'convTogether': f'{statistics.median(seconds["train_convnet_pytorch"]):.0f}',
        'speedShare': f'{statistics.mean(published.speedrun_rates()[1]):.0f}',
    }


def best_convnet_numbers():
    configs, summaries, histories = zip(*runs('convnet_best'), strict=True)
    fastest_config, fastest = published.fastest('convnet_best')
    flags, pflop = configs[0]['flags'], published.pflop(configs[0], summaries[0], histories[0])
    (_, large, update), (_, small, _) = (published.flops(None, True, side=s) for s in (32, best_convnet.SMALL))
    update *= summaries[0]['step'] / 1e15
    return {
        'vggPlain': spread([100 * s['test_accuracy'] for s in summaries], 2),
        'vggFlip': spread([100 * s['test_accuracy_flip'] for s in summaries], 2),
        'vggViews': spread([100 * s['test_accuracy_tta'] for s in summaries], 2),
        'vggSeeds': str(len(summaries)),
        'vggEpochs': str(flags['epochs']),
        'vggBatch': str(flags['batch_size']),
        'vggRate': str(flags['learning_rate']),
        'vggMomentum': str(best_convnet.MOMENTUM),
        'vggMixed': f'{100 * best_convnet.CUTMIX:.0f}',
        'vggClean': f'{100 * (1 - best_convnet.MIX_UNTIL):.0f}',
        'vggSmallShare': f'{100 * best_convnet.SMALL_UNTIL:.0f}',
        'vggSmallSide': str(best_convnet.SMALL),
        'vggSmallPrice': f'{100 * small / large:.0f}',
        'vggPflop': f'{pflop:.2f}',
        'vggUpdateShare': f'{100 * update / pflop:.0f}',
        'vggMinutes': f'{fastest["seconds"] / 60:.0f}',
        'vggHardware': published.hardware(fastest_config),
        'muonSteps': str(inspect.signature(orthogonalised).parameters['steps'].default),
    }


def confusion_numbers():
    names, counts, shares = confusion('convnet_pytorch')
    recognised = counts.diagonal(axis1=1, axis2=2) / counts.sum(axis=2)  # (seeds, 10)
    varied = np.ptp(recognised, axis=0).argmax()
    vehicle = np.isin(names, ['airplane', 'automobile', 'ship', 'truck'])
    right, wrong = shares.diagonal(), shares - np.diag(shares.diagonal())
    true, taken = np.unravel_index(wrong.argmax(), wrong.shape)
    best, worst = right.argmax(), right.argmin()
    return {
        'confAcross': f'{100 * shares[vehicle[:, None] != vehicle].sum() / len(names):.0f}',
        'confTrue': names[true],
        'confTaken': names[taken],
        'confShare': f'{100 * wrong[true, taken]:.0f}',
        'confBack': f'{100 * wrong[taken, true]:.0f}',
        'confBest': names[best],
        'confBestShare': f'{100 * right[best]:.0f}',
        'confWorst': names[worst],
        'confWorstShare': f'{100 * right[worst]:.0f}',
        'confVaried': names[varied],
        'confLow': f'{100 * recognised[:, varied].min():.0f}',
        'confHigh': f'{100 * recognised[:, varied].max():.0f}',
    }


def numbers(cost, layers):
    """The numbers in the text: {macro: TeX}."""
    found = {}
    for name, short in (('mlp_numpy', 'numpy'), ('mlp_pytorch', 'torch'), ('convnet_pytorch', 'conv')):
        found[f'{short}Accuracy'] = spread([100 * summary['test_accuracy'] for _, summary, _ in runs(name)], 1)
    for name, short in (('mlp_numpy', 'numpy'), ('convnet_pytorch', 'conv')):
        flags = runs(name)[0][0]['flags']
        found |= {
            f'{short}Seeds': str(len(runs(name))),
            f'{short}Steps': grouped(flags['max_steps']),
            f'{short}Batch': str(flags['batch_size']),
            f'{short}Rate': f'{Decimal(str(flags["learning_rate"])):f}',  # 0.0001, not 1e-4
        }

    flags = runs('mlp_numpy')[0][0]['flags']
    step, rate = total(cost), int(statistics.median(s['images_per_second'] for _, s, _ in runs('mlp_numpy')))
    flops = step['product'] + step['other']
    np.random.seed(0)
    found |= {
        'numpyHidden': ','.join(map(str, flags['dnn_hidden_units'])),
        'numpyEvery': str(flags['eval_freq']),
        'initDeviation': scientific(LinearModule(1000, 100).params['weight'].std()),
        'productShare': f'{100 * step["product"] / flops:.1f}',
        'stepIntensity': f'{flops / step["bytes"]:.0f}',
        'imagesPerSecond': grouped(round(rate, -3)),
        'achievedGflops': f'{rate * step["product"] / flags["batch_size"] / 1e9:.0f}',
    }

    default, larger = matrix_product_shares()
    found |= {
        'stepCeiling': default['this repo, NumPy'][0],
        'wideCeiling': larger['this repo, NumPy'][0],
        'torchTimes': default['PyTorch eager'][1],
        'sklearnTimes': default['scikit-learn'][1],
    }

    steps, gap = twin_gap()
    found |= {'twinStep': str(steps[0]), 'twinFirst': scientific(gap[:, 0].max())}
    found |= {'twinLast': scientific(gap[:, -1].max())}

    means = {name: statistics.mean(s['test_accuracy'] for _, s, _ in runs(name)) for name in RUNS}
    conv_flags, widest = runs('convnet_pytorch')[0][0]['flags'], max(shape[0] for _, shape, _, _ in layers)
    wide = [row for row in layers if row[1][0] == widest and row[2]]
    found |= {
        'convTrainAccuracy': spread([100 * s['train_accuracy'] for _, s, _ in runs('convnet_pytorch')], 1),
        'convGain': f'{100 * (means["convnet_pytorch"] - means["mlp_pytorch"]):.0f}',
        'convEpochs': f'{conv_flags["max_steps"] * conv_flags["batch_size"] / 50_000:.1f}',
        'wideChannels': str(widest),
        'wideParameters': f'{100 * sum(row[2] for row in wide) / sum(row[2] for row in layers):.0f}',
        'wideFlops': f'{100 * sum(row[3] for row in wide) / sum(row[3] for row in layers):.0f}',
    }

    configs, summaries, _ = zip(*runs('mlp_best'), strict=True)
    fastest_config, fastest = published.fastest('mlp_best')
    best_flags = configs[0]['flags']
    ((_, unaugmented, _),) = runs('mlp_best_unaugmented')
    found |= {
        'bestAccuracy': spread([100 * s['test_accuracy'] for s in summaries], 2),
        'bestSeeds': str(len(summaries)),
        'bestHidden': ', '.join(map(str, best_flags['dnn_hidden_units'])),
        'bestEps': f'{best_flags["whiten"]:g}',
        'bestPenalty': str(best_flags['l1_penalty']),
        'bestThreshold': str(best_flags['prune_below']),
        'bestUnaugmented': f'{100 * unaugmented["test_accuracy"]:.1f}',
        'bestUnaugmentedTrain': f'{100 * unaugmented["train_accuracy"]:.1f}',
        'bestZeros': f'{100 * statistics.mean(s["zero_weights"] for s in summaries):.0f}',
        'bestEpochs': str(best_flags['epochs']),
        'bestMinutes': f'{fastest["seconds"] / 60:.0f}',
        'bestHardware': published.hardware(fastest_config),
    }

    for name, row in (('penaltyZeros', 'combined_l1_penalty'), ('prunedZeros', 'combined_pruned')):
        found[name] = f'{100 * statistics.mean(s["zero_weights"] for _, s, _ in runs(f"ladder/{row}")):.2g}'

    found['whitenedEps'] = f'{runs("ladder/combined_whitened")[0][0]["flags"]["whiten"]:g}'

    found |= best_convnet_numbers() | confusion_numbers()
    found |= speedrun_numbers() | check_numbers()
    ladder_flags = runs('ladder/default')[0][0]['flags']
    found |= {
        'ladderSeeds': str(len(runs('ladder/default'))),
        'stepsSeeds': str(len(runs('ladder/combined_together'))),
        'ladderHeld': grouped(ladder_flags['validation_size']),
    }
    found |= {
        'equations': str(len(checks('test_eq_'))),
        'slips': str(len(checks('test_err_'))),
        'checkTolerance': scientific(unittests.NUMERICAL_RTOL),
        'errataBatch': str(equations.TestReportErrata.B),
        'memoryBatch': str(flags['batch_size']),
        'memoryNeurons': str(flags['dnn_hidden_units'][0]),
    }
    return found | {f'err{camel(name)}': rf'{100 * size:.0f}\,\%' for name, size in disagreements().items()}


def build(folder):
    """Writes everything to `folder`.

    Raises:
        MissingResult: if a run that the report shows is not in results/.
    """
    folder.mkdir(parents=True, exist_ok=True)
    flags = runs('mlp_numpy')[0][0]['flags']
    cost, layers = step_cost(flags['dnn_hidden_units'], flags['batch_size']), convnet_layers()
    with rc_context(STYLE):
        for name in ('mlp_numpy', 'mlp_best', 'convnet_pytorch', 'convnet_best'):
            plot_curves(folder / f'curves_{name}.pdf', name)
        plot_twins(folder / 'twins.pdf')
        plot_confusion(folder / 'confusion.pdf', 'convnet_pytorch')
        plot_layers(folder / 'layers.pdf')
        save(flops_figure((3.3, 2.4)), folder / 'networks.pdf')
    tables = {
        'glance': glance_table(),
        'runs': runs_table(),
        'cost': cost_table(cost),
        'memory': memory_table(flags['batch_size'], flags['dnn_hidden_units'][0]),
        'times': times_table(),
        'ladder': ladder_table(),
        'steps': steps_table(),
        'convnet': convnet_table(layers),
        'numbers': ''.join(rf'\newcommand{{\{name}}}{{{tex}}}' + '\n' for name, tex in numbers(cost, layers).items()),
    }
    for name, tex in tables.items():
        (folder / f'{name}.tex').write_text(tex, encoding='utf-8')


def main():
    argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0]).parse_args()
    try:
        build(REPORT / 'generated')
    except MissingResult as error:
        sys.exit(f'build.py: {error}')


if __name__ == '__main__':
    main()
