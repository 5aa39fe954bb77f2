"""Question 4: train the ConvNet on CIFAR-10, by default with Adam as the assignment asks.

    python train_convnet_pytorch.py                             # the assignment's default run
    python train_convnet_pytorch.py --augment --lr_schedule onecycle --learning_rate 1e-3 --batch_size 128 --epochs 30
    python train_convnet_pytorch.py --resume                    # continue a run that was cut off
    torchrun --nproc_per_node 2 train_convnet_pytorch.py        # several processes, each with its share of every batch

Prints a line per evaluation; leaves curves, confusion matrix, mistakes, filters, history, summary and checkpoint in
--out_dir.
"""

import numpy as np
import torch
from torch import nn

from cifar10_utils import N_CLASSES
from convnet_pytorch import ConvNet
from training.accuracy import accuracy
from training.augmentation import make_augmentation
from training.data import load_data, number_of_steps
from training.evaluation import evaluate, first_filters, predict_probabilities
from training.flags import ArgumentParser, number
from training.optimisers import make_ema, make_optimizer, make_scheduler
from training.run import Run
from training.script import run_script
from training.torch_flags import add_torch_flags, check_torch_flags
from training.torch_machine import TorchMachine


def parse_flags(argv=None):
    parser = ArgumentParser(__file__, __doc__)
    defaults = {'optimizer': 'adam', 'learning_rate': 1e-4, 'max_steps': 5000, 'batch_size': 32, 'eval_freq': 500}
    groups = add_torch_flags(parser, out_dir='runs/convnet_pytorch', precision='auto', **defaults)
    add = groups['regularisation'].add_argument
    add('--cutout', type=number(int, 0, 32), default=8, help='side in pixels of the square that --augment blanks')
    flags = parser.parse_args(argv)
    check_torch_flags(parser, flags)
    if flags.cutout != parser.get_default('cutout') and flags.augment == 'none':
        parser.error('--cutout needs --augment')
    return flags


def train(flags):
    """Trains and returns the history, a dict per evaluation."""
    machine = TorchMachine(flags)
    data = load_data(flags, flags.standardize)

    np.random.seed(flags.seed)
    torch.manual_seed(flags.seed)
    model = machine.place(ConvNet(3, N_CLASSES))
    network = machine.processes.parallel(model)
    augment = make_augmentation(flags, machine, flags.cutout)
    cross_entropy = nn.CrossEntropyLoss(label_smoothing=flags.label_smoothing)
    optimizer = make_optimizer(flags, model)
    scheduler = make_scheduler(flags, optimizer, number_of_steps(flags, data))
    scaler = machine.scaler()
    ema = make_ema(flags.ema, model)
    averaged = ema.module if ema else model
    state = dict(model=model, augment=augment, optimizer=optimizer, scheduler=scheduler, scaler=scaler, ema=ema)

    with Run(flags, machine, data, evaluate=lambda part: evaluate(averaged, part, machine), **state) as run:
        for x, y in run.batches():  # (B, 3, 32, 32), (B,)
            x = augment(x)
            with machine.autocast():
                logits = network(x)  # (B, 10)
                loss = cross_entropy(logits, y)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
            if ema:
                ema.update_parameters(model)
            run.after_step(loss, accuracy(logits, y))
        run.finish(lambda: predict_probabilities(averaged, data['test'], machine), first_filters(averaged))
    return run.history


if __name__ == '__main__':
    run_script(train, parse_flags())
