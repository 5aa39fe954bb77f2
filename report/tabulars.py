"""The report's tables: runs, what a step, a batch norm and a ConvNet cost, and what each modification gained."""

import re
import statistics

import numpy as np
import published
import torch
from batchnorm import VERSIONS, saved_bytes
from costs import total
from evidence import percents, printed, runs, summaries
from rows import LADDER, NETWORKS, STEPS
from tex import escaped, grouped, spread, tabular

SECTIONS = {
    'mlp_numpy': 'sec:numpy',
    'mlp_pytorch': 'sec:pytorch',
    'convnet_pytorch': 'sec:convnet',
    'mlp_best': 'sec:pytorch',
    'convnet_best': 'sec:best-convnet',
    'speedrun': 'sec:speedrun',
}
RUNS = {'mlp_numpy': 'MLP in NumPy', 'mlp_pytorch': 'MLP in PyTorch', 'convnet_pytorch': 'ConvNet'}


def glance_table():
    """Each network: where it is described, how well it does, what its training costs."""
    rows = []
    for name, label in SECTIONS.items():
        key = 'test_accuracy_tta' if 'test_accuracy_tta' in summaries(name)[0] else 'test_accuracy'
        operations = statistics.mean(published.pflop(*run) for run in runs(name))
        rows.append(
            [
                rf'{NETWORKS[name].title.split(" (")[0]} (\ref{{{label}}})',
                spread(percents(name, key), 2),
                np.format_float_positional(operations, 2, fractional=False, trim='-'),
            ]
        )
    return tabular('lcr', ['', r'test [\%]', 'PFLOP'], rows)


def runs_table():
    """The runs of the three questions: accuracy, loss, and the time on which machine."""
    rows = []
    for name, title in RUNS.items():
        config, found = runs(name)[-1][0], summaries(name)
        rows.append(
            [
                title,
                grouped(found[0]['step']),
                spread(percents(name, 'train_accuracy'), 1),
                spread(percents(name, 'test_accuracy'), 1),
                spread([s['test_loss'] for s in found], 3),
                grouped(round(statistics.median(s['seconds'] for s in found))),
                precision(config),
                published.hardware(config),
            ]
        )
    header = ['', 'steps', r'train [\%]', r'test [\%]', 'test loss', 'time [s]', 'precision', 'hardware']
    return tabular('lrcccrll', header, rows)


def precision(config):
    """Of the matrix products."""
    return {'fp32': 'float32', 'bf16': 'bfloat16'}.get(config['compute'].get('precision'), config['flags'].get('dtype'))


def cost_table(cost):
    """The operations of a training step of question 1.2, a row for each phase."""

    def cells(name, tally):
        flops = tally['product'] + tally['other']
        numbers = [tally['product'] / 1e6, tally['other'] / 1e6, tally['bytes'] / 1e6, flops / tally['bytes']]
        return [name, *(f'{number:.1f}' for number in numbers)]

    header = ['', 'products [MFLOP]', 'the rest [MFLOP]', 'moved [MB]', 'FLOP/byte']
    return tabular('lrrrr', header, [cells(*item) for item in cost.items()], cells('step', total(cost)))


def memory_table(n, c):
    """What each batch norm of (n, c) keeps for its way back."""
    titles = {'autograd': 'elementary operations, autograd', 'manual': 'manual backward', 'native': 'PyTorch'}
    torch.manual_seed(0)
    x, rows = torch.randn(n, c, requires_grad=True), []
    for name, version in VERSIONS.items():
        saved = saved_bytes(version(c), x)
        rows.append([titles[name], f'{saved / 1e3:.1f}', f'{saved / (4 * n * c):.2f}'])
    return tabular('lrr', ['version', 'saved [kB]', 'in arrays of the size of the input'], rows)


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


def convnet_table(layers):
    """The layers of the ConvNet that have parameters, and all of them together."""
    rows = [
        [name, r'$\times$'.join(map(str, shape)), grouped(n), f'{flops / 1e6:.2f}']
        for name, shape, n, flops in layers
        if n
    ]
    sums = [grouped(sum(row[2] for row in layers)), f'{sum(row[3] for row in layers) / 1e6:.2f}']
    return tabular('llrr', ['layer', 'output', 'parameters', 'MFLOP'], rows, ['total', '', *sums])


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
    """The mean accuracy, its text, and what rows.py says of these runs."""
    accuracies = percents(name, 'validation_accuracy')
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
