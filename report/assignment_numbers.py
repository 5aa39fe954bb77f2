"""The text's numbers of the three questions' networks: each function gives {macro: TeX}."""

import re
import statistics
from decimal import Decimal

import numpy as np
from costs import total
from evidence import confusion, flags_of, percents, printed, runs, summaries, twin_gap
from tex import grouped, scientific, spread

from modules import LinearModule


def of_defaults():
    """The three questions' runs: how well they did, and by which flags."""
    named = {'numpy': 'mlp_numpy', 'torch': 'mlp_pytorch', 'conv': 'convnet_pytorch'}
    found = {f'{short}Accuracy': spread(percents(name, 'test_accuracy'), 1) for short, name in named.items()}
    for short in ('numpy', 'conv'):
        flags = flags_of(named[short])
        found |= {
            f'{short}Seeds': str(len(runs(named[short]))),
            f'{short}Steps': grouped(flags['max_steps']),
            f'{short}Batch': str(flags['batch_size']),
            f'{short}Rate': f'{Decimal(str(flags["learning_rate"])):f}',  # 0.0001, not 1e-4
        }
    return found


def of_step(cost):
    """A training step of question 1.2: how it starts, what it costs, how fast it is."""
    flags, step = flags_of('mlp_numpy'), total(cost)
    rate = int(statistics.median(summary['images_per_second'] for summary in summaries('mlp_numpy')))
    flops = step['product'] + step['other']
    np.random.seed(0)
    return {
        'numpyHidden': ','.join(map(str, flags['dnn_hidden_units'])),
        'numpyEvery': str(flags['eval_freq']),
        'initDeviation': scientific(LinearModule(1000, 100).params['weight'].std()),
        'productShare': f'{100 * step["product"] / flops:.1f}',
        'stepIntensity': f'{flops / step["bytes"]:.0f}',
        'imagesPerSecond': grouped(round(rate, -3)),
        'achievedGflops': f'{rate * step["product"] / flags["batch_size"] / 1e9:.0f}',
    }


def of_ceilings():
    """That step beside the matrix products alone and beside other libraries, from benchmarks/numpy_mlp.py."""
    sizes = []  # {contender: (share of the ceiling in %, time / ours)} of each
    for line in printed('benchmarks', 'numpy_mlp'):
        if line.startswith('hidden'):
            sizes.append({})
        elif match := re.match(r'(\S.*?) {2,}[\d.]+ +\d+ +(\d+)% *([\d.]*)$', line):
            sizes[-1][match[1]] = match[2], match[3]
    default, larger = sizes
    return {
        'stepCeiling': default['this repo, NumPy'][0],
        'wideCeiling': larger['this repo, NumPy'][0],
        'torchTimes': default['PyTorch eager'][1],
        'sklearnTimes': default['scikit-learn'][1],
    }


def of_twins():
    """How far the losses of the NumPy and the PyTorch MLP are apart."""
    steps, gap = twin_gap()
    return {
        'twinStep': str(steps[0]),
        'twinFirst': scientific(gap[:, 0].max()),
        'twinLast': scientific(gap[:, -1].max()),
    }


def of_convnet(layers):
    """The ConvNet beside the MLP, and its widest layers beside all."""
    flags = flags_of('convnet_pytorch')
    convnet, mlp = (statistics.mean(percents(n, 'test_accuracy')) for n in ('convnet_pytorch', 'mlp_pytorch'))
    widest = max(shape[0] for _, shape, _, _ in layers)
    wide = [row for row in layers if row[1][0] == widest and row[2]]
    return {
        'convTrainAccuracy': spread(percents('convnet_pytorch', 'train_accuracy'), 1),
        'convGain': f'{convnet - mlp:.0f}',
        'convEpochs': f'{flags["max_steps"] * flags["batch_size"] / 50_000:.1f}',
        'wideChannels': str(widest),
        'wideParameters': f'{100 * sum(row[2] for row in wide) / sum(row[2] for row in layers):.0f}',
        'wideFlops': f'{100 * sum(row[3] for row in wide) / sum(row[3] for row in layers):.0f}',
    }


def of_confusions():
    """Which classes the ConvNet takes for which."""
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


def of_memory():
    """The shape for which the memory of batch norm is counted."""
    flags = flags_of('mlp_numpy')
    return {'memoryBatch': str(flags['batch_size']), 'memoryNeurons': str(flags['dnn_hidden_units'][0])}
