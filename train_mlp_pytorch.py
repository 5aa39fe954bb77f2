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

from mlp_pytorch import ACTIVATIONS, BATCH_NORMS, INITS, MLP, hard_threshold_, soft_threshold_
from torch_utils import (
    Machine,
    accuracy,
    add_torch_flags,
    augment,
    check_torch_flags,
    evaluate,
    leave,
    load_checkpoint,
    make_ema,
    make_mixing,
    make_optimizer,
    make_scheduler,
    make_writer,
    save_checkpoint,
)
from train_utils import (
    ArgumentParser,
    Run,
    RunError,
    UsageError,
    add_common_flags,
    hidden_units,
    load_data,
    number,
    run_script,
)


def parse_flags(argv=None):
    parser = ArgumentParser(prog='train_mlp_pytorch.py', description=__doc__.splitlines()[0])
    parser.add_argument('--dnn_hidden_units', type=hidden_units, default='100', help='sizes, as in 512,256')
    length = add_common_flags(
        parser, learning_rate=2e-3, max_steps=1500, batch_size=200, eval_freq=100, out_dir='runs/mlp_pytorch'
    )
    add_torch_flags(
        parser,
        optimizer='sgd',
        precision='fp32',
        augmentation='flip and shift the images; reflect mirrors the border, affine turns and stretches too',
    )
    length.add_argument(
        '--epochs', type=number(int, 1, 10**9), help='passes over the training set, instead of --max_steps'
    )
    add = parser.add_argument
    add('--batch_norm', choices=['none', *BATCH_NORMS], default='none', help="the last two are question 3's own")
    add('--dropout', type=number(float, 0, 1), default=0.0, help='probability of dropping a hidden unit')
    add('--l1_penalty', type=number(float, 0, 1e6), default=0.0, help='of the weights, taken off after each step')
    add('--prune_below', type=number(float, 0, 1e6), default=0.0, help='zero weights that are no larger after a step')
    add('--activation', choices=list(ACTIVATIONS), default='relu', help='of the hidden layers')
    add('--init', choices=list(INITS), default='normal', help="of the weights; normal is the assignment's")
    add('--whiten', type=number(float, 0), default=0.0, help='make pixels uncorrelated, this added to their variances')
    flags = parser.parse_args(argv)
    check_torch_flags(parser, flags)
    for name in ('batch_norm', 'dropout', 'activation'):
        if not flags.dnn_hidden_units and getattr(flags, name) != parser.get_default(name):
            parser.error(f'--{name} belongs to hidden layers, and --dnn_hidden_units names none')
    for name, value in [('init', 'local'), ('optimizer', 'muon')]:
        if not flags.dnn_hidden_units and getattr(flags, name) == value:
            parser.error(f'--{name} {value} belongs to hidden layers, and --dnn_hidden_units names none')
    for name in ('l1_penalty', 'prune_below'):
        if getattr(flags, name) and flags.optimizer == 'muon':
            parser.error(f'--{name} does not go with --optimizer muon, which keeps the norm of the weights')
    return flags


def check_weights(weights, step):
    """Raises RunError if all weights of a layer are 0: nothing of an image gets through it, nor a gradient back."""
    for i, weight in enumerate(weights, 1):
        if not weight.any():
            raise RunError(f'all weights of linear layer {i} are 0 at step {step}: lower --prune_below or --l1_penalty')


def train(flags):
    """Trains and returns the history, a dict per evaluation."""
    machine = Machine(flags)
    if flags.batch_norm != 'none' and flags.batch_size // machine.world_size < 2:
        raise UsageError('--batch_norm takes means over the batch: --batch_size must be at least 2 for each process')
    if flags.batch_norm in ('autograd', 'manual') and 0 < flags.validation_size < 2 * machine.world_size:
        raise UsageError(
            "question 3's --batch_norm takes means in evaluations too: --validation_size must be at least 2 per process"
        )
    run = Run(flags, record=machine.rank == 0, compute=machine.compute)
    data = load_data(flags, flags.standardize)
    train_set = data['train']
    evaluated = [name for name in ('validation', 'test') if data[name].num_examples]
    if flags.epochs:
        run.max_steps = flags.epochs * (train_set.num_examples // flags.batch_size)

    np.random.seed(flags.seed)
    torch.manual_seed(flags.seed)
    generator = torch.Generator().manual_seed(flags.seed)
    model = MLP(
        3 * 32 * 32,
        flags.dnn_hidden_units,
        10,
        batch_norm=flags.batch_norm,
        dropout=flags.dropout,
        activation=flags.activation,
        init=flags.init,
        whiten=flags.whiten > 0,
    ).to(machine.device)
    if flags.whiten and not run.finished:
        model.layers[0].fit((torch.from_numpy(x) for x, _ in train_set.chunks(1000)), flags.whiten)
    weights = [layer.weight for layer in model.linear_layers]
    network = machine.parallel(model)
    cross_entropy = nn.CrossEntropyLoss(label_smoothing=flags.label_smoothing)
    optimizer = make_optimizer(flags, model)
    scheduler = make_scheduler(flags, optimizer, run.max_steps)
    ema = make_ema(flags, model)
    averaged = ema.module if ema else model
    mix = make_mixing(flags)
    parts = {'model': model, 'optimizer': optimizer, 'scheduler': scheduler} | ({'ema': ema} if ema else {})

    run.start(__file__, parse_flags([]))
    run.print(f'training on {machine}')
    checkpoint = run.path / 'checkpoint.pt'
    run.restore(checkpoint, lambda path: load_checkpoint(path, run, machine, data, generator, **parts))
    machine.check_same_step(run.step)
    writer = make_writer(flags, run)

    with run.progress() as progress:
        while run.step < run.max_steps:
            x, y = machine.next_batch(train_set, flags.batch_size)  # (B, 3, 32, 32), (B,)
            if flags.augment != 'none':
                x = augment(x, generator, machine, flags.augment)
            if mix and run.step < flags.mix_until * run.max_steps:
                x, y = mix(x, y)  # (B, 3, 32, 32), (B,) or (B, 10)

            with machine.autocast():
                logits = network(x)  # (B, 10)
                loss = cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()
            with machine.autocast():  # Muon multiplies matrices
                optimizer.step()
            if flags.l1_penalty:
                soft_threshold_(weights, flags.l1_penalty * scheduler.get_last_lr()[0])
            if flags.prune_below:
                hard_threshold_(weights, flags.prune_below)
            scheduler.step()
            if ema:
                ema.update_parameters(model)

            run.count_step(*machine.mean(loss, accuracy(logits, y)))
            progress.update(flags.batch_size)
            if run.is_evaluation_due():
                check_weights(weights, run.step)
                run.log({name: evaluate(averaged, data[name], machine, chunk=1000) for name in evaluated})
                run.write_history(writer)
                save_checkpoint(checkpoint, run, machine, data, generator, **parts)
                run.print_row()
    more = {}
    if flags.l1_penalty or flags.prune_below:
        n_zeros = sum((weight == 0).sum().item() for weight in weights)
        more['zero_weights'] = n_zeros / sum(weight.numel() for weight in weights)
    run.finish(**more)
    return run.history


if __name__ == '__main__':
    run_script(train, parse_flags(), leave)
