"""The NumPy MLP's training step against PyTorch, scikit-learn and the machine's own matrix product, in one process.

    python benchmarks/numpy_mlp.py [--repeats 30]

A step is forward, loss, backward and SGD on a batch that is already drawn, all in float32. The contenders take turns
in blocks of a few steps, so that a busy moment of the machine falls on all of them; a time is the median over the
blocks, a ratio the median of the blocks' ratios. FLOPs are those of the matrix products: 2 B in out for a layer's
forward pass, the same for its weight gradient, and the same for its input gradient in all but the first layer. The
ceiling is the rate of a 2048 x 2048 float32 matrix product in NumPy.
"""

import statistics
import sys
import timeit
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

try:
    import threadpoolctl
    from sklearn.neural_network import MLPClassifier
except ImportError as error:
    sys.exit(f'numpy_mlp.py needs {error.name}, which is missing: pip install -r requirements-dev.txt')

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import mlp_numpy
import mlp_pytorch
from modules import CrossEntropyModule
from training.flags import ArgumentParser, number
from training.script import run_script

SIZES = [([100], 200), ([1024, 1024], 512)]
N_INPUTS, N_CLASSES, LEARNING_RATE = 3 * 32 * 32, 10, 1e-9


def numpy_step(n_hidden, x, y):
    model, cross_entropy = mlp_numpy.MLP(N_INPUTS, n_hidden, N_CLASSES, np.float32), CrossEntropyModule()

    def step():
        probabilities = model.forward(x)
        cross_entropy.forward(probabilities, y)
        model.backward(cross_entropy.backward(probabilities, y))
        for layer in model.linear_layers:
            for name, param in layer.params.items():
                param -= LEARNING_RATE * layer.grads[name]

    return step


def torch_step(n_hidden, x, y):
    model, cross_entropy = mlp_pytorch.MLP(N_INPUTS, n_hidden, N_CLASSES), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, fused=True)
    x, y = torch.from_numpy(x), torch.from_numpy(y)

    def step():
        loss = cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def sklearn_step(n_hidden, x, y):
    model = MLPClassifier(
        n_hidden, solver='sgd', alpha=0, momentum=0, batch_size=len(x), learning_rate_init=LEARNING_RATE, shuffle=False
    )
    return lambda: model.partial_fit(x, y, classes=np.arange(N_CLASSES))


def matrix_product():
    a, b = (np.random.randn(2048, 2048).astype(np.float32) for _ in range(2))
    return lambda: a @ b


def flops(n_hidden, batch_size):
    """FLOPs of the matrix products of a step."""
    sizes = [N_INPUTS, *n_hidden, N_CLASSES]
    products = [n_in * n_out * (2 if i == 0 else 3) for i, (n_in, n_out) in enumerate(pairwise(sizes))]
    return 2 * batch_size * sum(products)


def parse_flags():
    parser = ArgumentParser(__file__, __doc__)
    parser.add_argument('--repeats', type=number(int, 1), default=30, help='blocks of steps for each contender')
    return parser.parse_args()


def main(flags):
    warnings.filterwarnings('ignore', module='sklearn')
    rng = np.random.default_rng(0)
    pools = threadpoolctl.threadpool_info()
    threads = pools[0]['num_threads']
    torch.set_num_threads(threads)
    kernels = {pool['architecture'] for pool in pools if 'architecture' in pool}  # of NumPy's matrix products
    print(f'{threads} threads, OpenBLAS kernels for {", ".join(sorted(kernels)) or "an unknown CPU"}')
    for n_hidden, batch_size in SIZES:
        x = rng.normal(0, 60, (batch_size, N_INPUTS)).astype(np.float32)
        y = rng.integers(N_CLASSES, size=batch_size)
        contenders = {
            'this repo, NumPy': (numpy_step(n_hidden, x, y), flops(n_hidden, batch_size)),
            'PyTorch eager': (torch_step(n_hidden, x, y), flops(n_hidden, batch_size)),
            'scikit-learn': (sklearn_step(n_hidden, x, y), flops(n_hidden, batch_size)),
            'matrix product': (matrix_product(), 2 * 2048**3),
        }
        steps = max(3, int(2e10 / flops(n_hidden, batch_size)))
        times = {name: [] for name in contenders}
        for repeat in range(flags.repeats + 2):
            for name, (step, _) in contenders.items():
                n = steps if name != 'matrix product' else 2
                taken = timeit.timeit(step, number=n) / n
                if repeat >= 2:  # the first two warm up
                    times[name].append(taken)
        rates = {name: [work / t / 1e9 for t in times[name]] for name, (_, work) in contenders.items()}
        ours, ceiling = times['this repo, NumPy'], rates['matrix product']
        print(f'\nhidden {",".join(map(str, n_hidden))}, batch {batch_size}')
        print(f'{"":20}{"ms":>9}{"GFLOP/s":>10}{"of ceiling":>12}{"time / ours":>13}')
        for name in contenders:
            share = statistics.median(r / c for r, c in zip(rates[name], ceiling, strict=True))
            ratio = statistics.median(t / o for t, o in zip(times[name], ours, strict=True))
            last = f'{ratio:13.2f}' if name != 'matrix product' else ''
            print(
                f'{name:20}{1e3 * statistics.median(times[name]):9.2f}{statistics.median(rates[name]):10.0f}'
                f'{share:12.0%}{last}'
            )


if __name__ == '__main__':
    run_script(main, parse_flags())
