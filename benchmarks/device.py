"""What a training step asks of its device: host reads and operator calls, beside a loop as tutorials write it.

    python benchmarks/device.py [--device cpu]

A read has the host wait for all that the device was given to do, and an operator is a launch, or several; on a fast
device a small network's step takes as long as these. They are counted on whatever device is at hand, in the 50 steps
that follow the first ten; on a CPU reads of what lies on the host anyway are among them, such as the step numbers of
plain Adam and the random numbers of CutMix. Views, which launch nothing, are left out. The batches are small: how many
images are in them changes neither number.
"""

import contextlib
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import train_convnet_pytorch
import train_mlp_pytorch
from convnet_pytorch import ConvNet
from data.shapes10 import shapes10
from experiments import best_convnet, speedrun
from training.flags import ArgumentParser
from training.run import Run
from training.script import run_script
from training.torch_machine import TorchMachine

FIRST, STEPS = 10, 50
LOOPS = {
    'train_mlp_pytorch.py': (train_mlp_pytorch, ''),
    'train_mlp_pytorch.py --augment': (train_mlp_pytorch, '--augment'),
    'train_convnet_pytorch.py': (train_convnet_pytorch, ''),
    'train_convnet_pytorch.py --augment': (train_convnet_pytorch, '--augment'),
    'experiments/best_convnet.py': (best_convnet, ''),
    'experiments/speedrun.py': (speedrun, '--epochs 0.1'),
}
BATCH_SIZE = 4


class Counter(TorchDispatchMode):
    """Counts what reaches a device while it is open.

    Attributes:
        reads: scalars and tensors that the host has read.
        operators: that were called, without those that return a view.
    """

    def __init__(self):
        super().__init__()
        self.reads = self.operators = 0
        self.whole = contextlib.ExitStack()

    def __enter__(self):
        for name in ('tolist', 'numpy', 'cpu'):  # which are no operators
            original = getattr(torch.Tensor, name)
            self.whole.enter_context(mock.patch.object(torch.Tensor, name, self._counted(original)))
        return super().__enter__()

    def __exit__(self, *exception):
        self.whole.close()
        return super().__exit__(*exception)

    def _counted(self, original):
        def read(*args, **kwargs):
            self.reads += 1
            return original(*args, **kwargs)

        return read

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if operator is torch.ops.aten._local_scalar_dense.default:
            self.reads += 1
        elif not any(value.alias_info and not value.alias_info.is_write for value in operator._schema.returns):
            self.operators += 1
        return operator(*args, **(kwargs or {}))


class Enough(Exception):
    """A run has shown what was asked for."""


def between(script, flags, begin, end, first=FIRST, steps=STEPS):
    """Trains with a script, and ends the run early: what it leaves is in a folder that is gone.

    Args:
        script: a module with train(flags).
        flags: parsed flags.
        begin, end: functions that are called after step `first`, and `steps` later.
    """
    after_step = Run.after_step

    def watched(run, loss, accuracy):
        after_step(run, loss, accuracy)
        if run.step == first:
            begin()
        elif run.step == first + steps:
            end()
            raise Enough

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(Run, 'after_step', watched):
        flags.out_dir, flags.quiet, flags.eval_freq = f'{folder}/run', True, 2 * (first + steps)
        with contextlib.suppress(Enough):
            script.train(flags)


class Pictures(Dataset):
    """Images, uint8 (N, 3, 32, 32), and labels as torchvision has them: PIL's, transformed one by one."""

    def __init__(self, images, labels):
        from torchvision import transforms

        self.images, self.labels = images.transpose(0, 2, 3, 1), labels
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
            ]
        )

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.transform(Image.fromarray(np.ascontiguousarray(self.images[i]))), int(self.labels[i])


def tutorial(images, labels, batch_size, device, workers=2):
    """The ConvNet, trained as in tutorials: a DataLoader with transforms, and .item() each step. Yields after each."""
    loader = DataLoader(Pictures(images, labels), batch_size, shuffle=True, num_workers=workers, drop_last=True)
    model, criterion = ConvNet(3, 10).to(device), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    running_loss = correct = 0
    while True:
        for x, y in loader:
            x, y = x.to(device), y.to(device)
            optimizer.zero_grad()
            out = model(x)
            loss = criterion(out, y)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
            correct += (out.argmax(1) == y).sum().item()
            yield


def counts_of_tutorial(device):
    """Reads and operator calls of the tutorials' loop in STEPS steps; its workers' are not among them."""
    images, labels = (array[:1024] for array in shapes10()[:2])
    steps = tutorial(images, labels, BATCH_SIZE, device, workers=1)
    with contextlib.closing(steps), Counter() as counter:
        for _ in range(FIRST):
            next(steps)
        before = counter.reads, counter.operators
        for _ in range(STEPS):
            next(steps)
        return counter.reads - before[0], counter.operators - before[1]


def counts_of(script, argv):
    """Reads and operator calls of a script's loop in STEPS steps."""
    seen = []
    with Counter() as counter:

        def note():
            seen.append((counter.reads, counter.operators))

        between(script, script.parse_flags(argv), note, note)
    (reads, operators), (later_reads, later_operators) = seen
    return later_reads - reads, later_operators - operators


def parse_flags():
    parser = ArgumentParser(__file__, __doc__)
    parser.add_argument('--device', choices=['auto', 'cpu', 'cuda', 'mps'], default='cpu', help='where to compute')
    return parser.parse_args()


def show(name, reads, operators):
    print(f'| {name} | {reads} | {operators / STEPS:.0f} |', flush=True)


def main(flags):
    argv = ['--device', flags.device]
    print(f'| loop | host reads in {STEPS} steps | operator calls a step |\n| --- | ---: | ---: |', flush=True)
    show('the ConvNet as in tutorials', *counts_of_tutorial(TorchMachine(train_mlp_pytorch.parse_flags(argv)).device))
    with mock.patch.object(speedrun, 'BATCH_SIZE', BATCH_SIZE):
        for name, (script, more) in LOOPS.items():
            small = [] if script is speedrun else ['--batch_size', str(BATCH_SIZE)]
            show(name, *counts_of(script, [*argv, '--dataset', 'shapes10', *small, *more.split()]))


if __name__ == '__main__':
    run_script(main, parse_flags())
