"""How fast the CUDA GPU of this machine trains, beside a loop as tutorials write it, in less than five minutes.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --dataset shapes10      # no download

The speedrun is timed as its reference is, on a device that is warm, from the first step to the last; and as a whole
process, from the start of Python to the last plot. The default ConvNet run is a whole process too, whose summary has
the rate of its steps. The other rates are of steps in this process; the best recipe's are half of small images, half of
large ones. The ceiling is a 2048 x 2048 matrix product in the precision of the runs. Synchronisations and launches are
those in a trace of the CUDA runtime. What is printed is kept in runs/gpu.json.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import timeit
from itertools import islice
from pathlib import Path
from unittest import mock

import torch
from convnet import PRODUCTS, matrix_products
from device import between, tutorial
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import train_convnet_pytorch  # noqa: E402
from convnet_pytorch import ConvNet  # noqa: E402
from experiments import best_convnet, speedrun  # noqa: E402
from training.data import load_data  # noqa: E402
from training.errors import RunError  # noqa: E402
from training.files import reading, write_json  # noqa: E402
from training.flags import ArgumentParser, add_data_flags  # noqa: E402
from training.run import Run  # noqa: E402
from training.script import run_script  # noqa: E402
from training.torch_machine import TorchMachine  # noqa: E402

KEPT = ROOT / 'runs' / 'gpu.json'
SPEEDRUN, CONVNET = 'experiments/speedrun.py', 'train_convnet_pytorch.py'


def now(device):
    """Seconds by the clock, once the device has done what it was given."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter()


def whole_process(script, argv):
    """Seconds of a run from the start of Python, and its summary."""
    with tempfile.TemporaryDirectory() as folder:
        summary = Path(folder) / 'run' / 'summary.json'
        start = time.perf_counter()
        command = [sys.executable, script, *argv, '--quiet', '--out_dir', str(summary.parent)]
        if subprocess.run(command, cwd=ROOT).returncode:
            raise RunError(f'{script} failed')
        seconds = time.perf_counter() - start
        with reading(summary):
            return seconds, json.loads(summary.read_text())


def training_seconds(script, flags, device):
    """Seconds of a run in this process from its first step to its last, without the evaluation that follows."""
    times, steps, evaluate = [], Run.steps, Run._evaluate

    def timed_steps(run):
        times.append(now(device))
        yield from steps(run)

    def timed_evaluate(run):
        times.append(now(device))
        evaluate(run)

    patches = mock.patch.object(Run, 'steps', timed_steps), mock.patch.object(Run, '_evaluate', timed_evaluate)
    with tempfile.TemporaryDirectory() as folder, patches[0], patches[1]:
        flags.out_dir, flags.quiet = f'{folder}/run', True
        script.train(flags)
    return times[-1] - times[0]


def rate(script, flags, device, first, steps):
    """Images per second of a script's steps."""
    times = []

    def note():
        times.append(now(device))

    between(script, flags, note, note, first, steps)
    return flags.batch_size * steps / (times[1] - times[0])


def tutorial_rate(images, labels, batch_size, device, first, steps, workers):
    """Images per second of the loop as tutorials write it."""
    with contextlib.closing(tutorial(images, labels, batch_size, device, workers)) as loop:
        next(islice(loop, first - 1, None))
        start = now(device)
        next(islice(loop, steps - 1, None))
        return batch_size * steps / (now(device) - start)


def trace(script, flags, first, steps):
    """Synchronisations and launches a step, by the CUDA runtime's own names."""
    profiler = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])
    between(script, flags, profiler.start, profiler.stop, first, steps)
    names = [event.name for event in profiler.events()]
    waits = sum('Synchronize' in name for name in names)
    launches = sum('LaunchKernel' in name or 'GraphLaunch' in name for name in names)
    return waits / steps, launches / steps


def training_flops(side):
    """FLOPs of the ConvNet's forward and backward pass over an image of this side."""
    with FlopCounterMode(display=False) as counter:
        ConvNet(3, 10)(torch.zeros(2, 3, side, side)).sum().backward()
    return counter.get_total_flops() / 2


def speedrun_figures(argv, device):
    """Of the speedrun: its training once a short run has warmed the device up, the whole process, its accuracy."""
    training_seconds(speedrun, speedrun.parse_flags([*argv, '--epochs', '0.3']), device)
    yield 'speedrun, training', training_seconds(speedrun, speedrun.parse_flags(argv), device), 's'
    seconds, summary = whole_process(SPEEDRUN, argv)
    yield 'speedrun, whole process', seconds, 's'
    yield 'speedrun, test accuracy over six views', 100 * summary['test_accuracy_tta'], '%'


def default_figures(argv, batch_size=32):
    """Of the default ConvNet run as a whole process."""
    seconds, summary = whole_process(CONVNET, argv)
    yield 'default ConvNet, whole process', seconds, 's'
    yield 'default ConvNet, steps', summary['step'] * batch_size / summary['images_per_second'], 's'


def rates(argv, device, data, ceiling, first=50, steps=400, tutorial_steps=40, workers=8):
    """Images per second of the ConvNet at batches of 32 and of its best recipe at 500, each beside the tutorials'."""
    images, labels = data['train'].raw
    large = training_flops(32)
    half_small = (training_flops(best_convnet.SMALL) + large) / 2
    epochs = -(-(first + steps) // (len(images) // 500))  # so that half of all steps see small images
    for name, script, more, size, flops in (
        ('ConvNet', train_convnet_pytorch, [], 32, large),
        ('best recipe', best_convnet, ['--epochs', str(epochs)], 500, half_small),
    ):
        ours = rate(script, script.parse_flags([*argv, *more]), device, first, steps)
        theirs = tutorial_rate(images, labels, size, device, 10, tutorial_steps, workers)
        yield f'{name}, batches of {size}', ours, 'images/s'
        yield f'{name}, share of the matrix product', 100 * ours * flops / ceiling, '%'
        yield f'tutorial, batches of {size}', theirs, 'images/s'
        yield f'{name} / tutorial', ours / theirs, 'times'


def requests(argv, first=20, steps=50):
    """What a step asks of the device."""
    for name, script in ('ConvNet', train_convnet_pytorch), ('best recipe', best_convnet):
        waits, launches = trace(script, script.parse_flags(argv), first, steps)
        yield f'{name}, synchronisations a step', waits, ''
        yield f'{name}, launches a step', launches, ''


def figures(argv, machine, data):
    """All that is measured: name, number and unit."""
    step = matrix_products(machine, machine.precision)
    ceiling = PRODUCTS * 2 * 2048**3 * 5 / min(timeit.repeat(step, number=5, repeat=6))
    yield f'matrix product in {machine.precision}', ceiling / 1e12, 'TFLOP/s'
    yield from rates(argv, machine.device, data, ceiling)
    yield from requests(argv)
    yield 'memory of the device', torch.cuda.max_memory_allocated(machine.device) / 1e9, 'GB'
    yield from default_figures(argv)
    yield from speedrun_figures(argv, machine.device)


def parse_flags():
    parser = ArgumentParser(__file__, __doc__)
    add_data_flags(parser)
    return parser.parse_args()


def data_argv(flags):
    """The flags of the data as words, for runs that start in another folder."""
    words = ['--dataset', flags.dataset, '--data_dir', os.path.abspath(flags.data_dir)]
    words += ['--validation_size', str(flags.validation_size)]
    return words + (['--data_url', flags.data_url] if flags.data_url else [])


def main(flags):
    if not torch.cuda.is_available():
        print('no CUDA device is here, and nothing to measure: benchmarks/device.py counts what a step asks of one')
        return
    argv = ['--device', 'cuda', *data_argv(flags)]
    convnet_flags = train_convnet_pytorch.parse_flags(argv)
    machine, found = TorchMachine(convnet_flags), {'gpu': torch.cuda.get_device_name(), 'torch': torch.__version__}
    print(f'{found["gpu"]}, {machine}, torch {found["torch"]}')
    for name, number, unit in figures(argv, machine, load_data(convnet_flags)):
        found[f'{name} [{unit}]' if unit else name] = number
        print(f'{name:42}{number:12.2f} {unit}', flush=True)
    KEPT.parent.mkdir(exist_ok=True)
    write_json(KEPT, found)


if __name__ == '__main__':
    run_script(main, parse_flags())
