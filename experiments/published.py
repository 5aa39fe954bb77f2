"""The published runs, as results/ holds them: what each said of itself, and what follows from it.

results/NAME/seedS/ holds config.json, history.csv and summary.json of a run; rows.py says which names there are.
results/benchmarks/ holds what benchmarks printed, results/checks/ what the checks of the checks did.
"""

import csv
import functools
import json
import math
import shlex
import statistics
import sys
from pathlib import Path

import torch
from rows import NETWORKS
from table import mean_and_deviation
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from cifar10_utils import N_CLASSES, N_PIXELS  # noqa: E402
from convnet_pytorch import ConvNet  # noqa: E402
from experiments import best_convnet, best_mlp  # noqa: E402
from mlp_pytorch import MLP  # noqa: E402

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


def names():
    """The networks that results/ holds with all their seeds."""
    return [name for name, about in NETWORKS.items() if len(runs(name)) == about.seeds]


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


def hardware(config):
    found = config['hardware']
    cpu = found['cpu'].replace('(R)', '').removesuffix(' Processor')
    cores = '1 core' if found['cores'] == 1 else f'{found["cores"]} cores'
    return (found.get('gpus') or [f'{cpu}, {cores}'])[0]


def machine(config):
    """The hardware, and bf16 if that is what the run used of it."""
    return f'{hardware(config)}, bf16' if config['compute'].get('precision') == 'bf16' else hardware(config)


def percent(summaries, key):
    """Mean and standard deviation in percent, or '' where the runs do not have the figure."""
    if key not in summaries[0]:
        return ''
    return mean_and_deviation([100 * s[key] for s in summaries], 2)


def percent_mean(name, key):
    return 100 * statistics.mean(summary[key] for _, summary, _ in runs(name))


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


def speedrun_rates():
    """GFLOP/s of each speedrun as a whole, and their shares in % of the machine's matrix product, where measured."""
    measured = [summary for _, summary, _ in runs('speedrun') if 'matrix_product_gflops' in summary]
    rates = [1e6 * s['pflop'] / s['seconds'] for s in measured]
    return rates, [100 * rate / s['matrix_product_gflops'] for rate, s in zip(rates, measured, strict=True)]
