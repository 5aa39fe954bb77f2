"""Forward plus backward of the batch normalisations of question 3 beside nn.BatchNorm1d, float32, on this machine.

    python benchmarks/batchnorm.py [--repeats 15]

Every version gets the same input and output gradient, and gives the gradients of input, gamma and beta. The versions
take turns, so that a busy moment of the machine falls on all of them; the time is the median over the turns, with the
shortest beside it, and a ratio is the median of the turns' ratios. Freed memory is kept for the next turn, as a
training run keeps it: glibc would hand blocks of 32 MiB back to the system and fetch them anew each time. Saved bytes
are the distinct storages that forward keeps for backward.
"""

import os
import statistics
import sys
import timeit
from functools import partial
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from custom_batchnorm import CustomBatchNormAutograd, CustomBatchNormManualModule
from training.flags import ArgumentParser, number
from training.provenance import hardware
from training.script import run_script
from training.torch_machine import reuse_freed_memory

SHAPES = [(200, 100), (512, 1024), (8192, 1024)]
VERSIONS = {'autograd': CustomBatchNormAutograd, 'manual': CustomBatchNormManualModule, 'native': nn.BatchNorm1d}


def step(module, x, dout):
    torch.autograd.grad(module(x), (x, *module.parameters()), dout)


def saved_bytes(module, x):
    storages = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = module(x)  # alive while counting, so that no two saved storages share an address
    del out
    return sum(storages.values())


def median_ratio(times, others):
    return statistics.median(a / b for a, b in zip(times, others, strict=True))


def parse_flags():
    parser = ArgumentParser(__file__, __doc__)
    parser.add_argument('--repeats', type=number(int, 1), default=15, help='turns of each version')
    return parser.parse_args()


def main(flags):
    reuse_freed_memory()
    load = f'load {os.getloadavg()[0]:.1f} before, ' if hasattr(os, 'getloadavg') else ''
    threads = torch.get_num_threads()
    print(f'{hardware()["cpu"]}, torch {torch.__version__}, {threads} threads, {load}{flags.repeats} turns')
    print('| shape | version | time [ms] | shortest [ms] | time / autograd | time / native | saved [MB] |')
    print('| --- | --- | ---: | ---: | ---: | ---: | ---: |')
    for n, c in SHAPES:
        torch.manual_seed(0)
        x = torch.randn(n, c, requires_grad=True)
        dout = torch.randn(n, c)
        modules = {name: version(c) for name, version in VERSIONS.items()}
        inner = max(1, 4_000_000 // (n * c))
        times = {name: [] for name in modules}
        for turn in range(flags.repeats + 1):
            for name, module in modules.items():
                seconds = timeit.timeit(partial(step, module, x, dout), number=inner) / inner
                if turn > 0:  # the first turn warms up
                    times[name].append(seconds)
        for name, module in modules.items():
            print(
                f'| {n} x {c} | {name} | {statistics.median(times[name]) * 1e3:.3f} '
                f'| {min(times[name]) * 1e3:.3f} | {median_ratio(times[name], times["autograd"]):.2f} '
                f'| {median_ratio(times[name], times["native"]):.2f} | {saved_bytes(module, x) / 1e6:.2f} |'
            )


if __name__ == '__main__':
    run_script(main, parse_flags())
