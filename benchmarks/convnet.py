"""The ConvNet's training step as trained here against plain float32, and against the machine's own matrix product.

    python benchmarks/convnet.py [--repeats 5]

`plain` is what a first script does: nn.Conv2d, float32 (on a GPU without TF32), NCHW, torch.optim.Adam as it comes.
`ours` is train_convnet_pytorch.py: automatic precision, channels last, the fused optimiser. A step is forward, loss,
backward and update. All contenders take turns in blocks of a few steps, so that a busy moment of the machine falls on
each; a time is the median over the blocks, a ratio the median of the blocks' ratios. FLOPs are counted by
torch.utils.flop_counter. The ceiling is the rate of a 2048 x 2048 matrix product in the precision of `ours`. The ratio
of the two precisions' products is as much as `ours` could gain over a `plain` that reached its own ceiling.
"""

import statistics
import sys
import timeit
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from cifar10_utils import make_data_sets
from convnet_pytorch import ConvNet
from data.shapes10 import shapes10
from train_convnet_pytorch import parse_flags as convnet_flags
from training.augmentation import Augmentation
from training.evaluation import predict_logits
from training.flags import ArgumentParser, number
from training.optimisers import make_optimizer
from training.script import run_script
from training.torch_machine import TorchMachine

BATCH_SIZES = 32, 128
PRODUCTS = 10  # timed at once: a GPU is waited for after the last


def training_step(model, optimizer, machine, x, y):
    cross_entropy = nn.CrossEntropyLoss()

    def step():
        with machine.autocast():
            loss = cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def plain_step(x, y):
    machine = TorchMachine(convnet_flags(['--precision', 'fp32']))
    model = ConvNet(3, 10).to(machine.device)
    return training_step(model, torch.optim.Adam(model.parameters(), lr=1e-4), machine, x, y)


def our_step(machine, x, y):
    model = machine.place(ConvNet(3, 10))
    return training_step(model, make_optimizer(convnet_flags([]), model), machine, x, y)


def data_step(machine, data_set, batch_size):
    augment = Augmentation(0, machine, cutout=8)

    def step():
        x = augment(machine.next_batch(data_set, batch_size)[0])
        return x[0, 0, 0, 0].item()  # waits for a GPU

    return step


def evaluation(machine, data_set):
    model = machine.place(ConvNet(3, 10))
    return lambda: predict_logits(model, data_set, machine)


def matrix_products(machine, precision):
    dtype = torch.bfloat16 if precision == 'bf16' else torch.float32
    a, b = (torch.randn(2048, 2048, device=machine.device, dtype=dtype) for _ in range(2))

    def step():
        for _ in range(PRODUCTS):
            c = a @ b
        return c[0, 0].item()

    return step


def training_flops(machine, batch_size):
    """FLOPs of a forward and backward pass."""
    model = ConvNet(3, 10).to(machine.device)
    with FlopCounterMode(display=False) as counter:
        model(torch.randn(batch_size, 3, 32, 32, device=machine.device)).sum().backward()
    return counter.get_total_flops()


def parse_flags():
    parser = ArgumentParser(__file__, __doc__)
    parser.add_argument('--repeats', type=number(int, 1), default=5, help='blocks of steps for each contender')
    return parser.parse_args()


def main(flags):
    machine = TorchMachine(convnet_flags([]))
    data = make_data_sets(*shapes10(), one_hot=False)
    contenders = {
        'matrix product': (matrix_products(machine, machine.precision), 2),
        'evaluation': (evaluation(machine, data['test']), 1),
    }
    if machine.precision != 'fp32':
        contenders['float32 product'] = matrix_products(machine, 'fp32'), 1
    for size in BATCH_SIZES:
        x, y = machine.next_batch(data['train'], size)
        contenders |= {
            f'plain {size}': (plain_step(x, y), 128 // size),
            f'ours {size}': (our_step(machine, x, y), 128 // size),
            f'data {size}': (data_step(machine, data['train'], size), 10),
        }
    times = {name: [] for name in contenders}
    for repeat in range(flags.repeats + 1):
        for name, (step, n) in contenders.items():
            taken = timeit.timeit(step, number=n) / n
            if repeat:  # the first warms up
                times[name].append(taken)

    def median_ratio(above, below, scale=1.0):
        return scale * statistics.median(a / b for a, b in zip(times[above], times[below], strict=True))

    product = PRODUCTS * 2 * 2048**3
    n_test = data['test'].num_examples
    print(f'ours: {machine}; {torch.get_num_threads()} threads')
    ceiling = product / statistics.median(times['matrix product']) / 1e9
    against = ''
    if 'float32 product' in contenders:
        against = f', {median_ratio("float32 product", "matrix product"):.2f} times that in fp32'
    print(f'matrix product in {machine.precision}: {ceiling:.0f} GFLOP/s{against}')
    for size in BATCH_SIZES:
        plain, ours, drawing = f'plain {size}', f'ours {size}', f'data {size}'
        flops = training_flops(machine, size)
        rate = flops / statistics.median(times[ours]) / 1e9
        print(f'\nbatch {size}')
        print(f'plain float32       {size / statistics.median(times[plain]):8.0f} images/s')
        print(f'ours                {size / statistics.median(times[ours]):8.0f} images/s, {rate:.0f} GFLOP/s')
        print(f'ours / plain        {median_ratio(plain, ours):8.2f} times')
        print(f'ours / ceiling      {median_ratio("matrix product", ours, flops / product):8.1%}')
        print(f'data and augmenting {median_ratio(drawing, ours):8.1%} of a step')
        print(f'evaluation          {median_ratio(ours, "evaluation", n_test / size):8.2f} times the training rate')


if __name__ == '__main__':
    run_script(main, parse_flags())
