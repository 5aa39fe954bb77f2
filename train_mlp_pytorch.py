"""Question 2: train the PyTorch MLP on CIFAR-10, by default exactly as question 1.2 trains the NumPy MLP.

    python train_mlp_pytorch.py                                 # the assignment's default run
    python train_mlp_pytorch.py --dnn_hidden_units 512,256 --batch_norm manual --optimizer adam --learning_rate 1e-3
    python train_mlp_pytorch.py --resume                        # continue a run that was cut off
    torchrun --nproc_per_node 2 train_mlp_pytorch.py            # several processes, each with its share of every batch

Prints a line per evaluation; leaves curves, history, summary and checkpoint in --out_dir.
"""

import numpy as np
import torch
from torch import nn

from cifar10_utils import N_CLASSES, N_PIXELS
from mlp_pytorch import ACTIVATIONS, BATCH_NORMS, INITS, MLP
from training.accuracy import accuracy
from training.augmentation import make_augmentation
from training.data import load_data, number_of_steps
from training.evaluation import evaluate
from training.flags import ArgumentParser, fraction, hidden_units
from training.optimisers import make_ema, make_optimizer, make_scheduler
from training.run import Run
from training.script import run_script
from training.torch_flags import add_torch_flags, check_batch_norm, check_torch_flags
from training.torch_machine import TorchMachine


def parse_flags(argv=None):
    parser = ArgumentParser(__file__, __doc__)
    add = parser.add_argument_group('model').add_argument
    add('--dnn_hidden_units', type=hidden_units, default=[100], help='sizes, as in 512,256')
    add('--batch_norm', choices=['none', *BATCH_NORMS], default='none', help="the last two are question 3's own")
    add('--activation', choices=list(ACTIVATIONS), default='relu', help='of the hidden layers')
    add('--init', choices=list(INITS), default='normal', help="of the weights; normal is the assignment's")
    defaults = {'optimizer': 'sgd', 'learning_rate': 2e-3, 'max_steps': 1500, 'batch_size': 200, 'eval_freq': 100}
    groups = add_torch_flags(parser, out_dir='runs/mlp_pytorch', **defaults)
    add = groups['regularisation'].add_argument
    add('--dropout', type=fraction, default=0.0, help='probability of dropping a hidden unit')
    flags = parser.parse_args(argv)
    check_torch_flags(parser, flags)
    for name in ('batch_norm', 'dropout', 'activation'):
        if not flags.dnn_hidden_units and getattr(flags, name) != parser.get_default(name):
            parser.error(f'--{name} belongs to hidden layers, and --dnn_hidden_units names none')
    return flags


def make_model(flags):
    """The MLP that the flags describe."""
    choices = {name: getattr(flags, name) for name in ('batch_norm', 'dropout', 'activation', 'init')}
    return MLP(N_PIXELS, flags.dnn_hidden_units, N_CLASSES, **choices)


def train(flags):
    """Trains and returns the history, a dict per evaluation."""
    machine = TorchMachine(flags)
    check_batch_norm(flags, machine.processes.world_size)
    data = load_data(flags, flags.standardize)

    np.random.seed(flags.seed)
    torch.manual_seed(flags.seed)
    model = machine.place(make_model(flags))
    network = machine.processes.parallel(model)
    augment = make_augmentation(flags, machine)
    cross_entropy = nn.CrossEntropyLoss(label_smoothing=flags.label_smoothing)
    optimizer = make_optimizer(flags, model)
    scheduler = make_scheduler(flags, optimizer, number_of_steps(flags, data))
    scaler = machine.scaler()
    ema = make_ema(flags.ema, model)
    averaged = ema.module if ema else model
    state = dict(model=model, augment=augment, optimizer=optimizer, scheduler=scheduler, scaler=scaler, ema=ema)

    with Run(flags, machine, data, evaluate=lambda part: evaluate(averaged, part, machine, 1000), **state) as run:
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
        run.finish()
    return run.history


if __name__ == '__main__':
    run_script(train, parse_flags())
