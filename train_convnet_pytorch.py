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
import torch.nn.functional as F
from torch import nn

from cifar10_utils import IMAGE_SHAPE
from convnet_pytorch import ConvNet
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
    predict_logits,
    reuse_freed_memory,
    save_checkpoint,
)
from train_utils import (
    ArgumentParser,
    Run,
    add_common_flags,
    class_names,
    load_data,
    number,
    plot_filters,
    plot_predictions,
    run_script,
)

FULL, SMALL = IMAGE_SHAPE[2], 24  # sides of the images in pixels


def parse_flags(argv=None):
    parser = ArgumentParser(prog='train_convnet_pytorch.py', description=__doc__.splitlines()[0])
    length = add_common_flags(
        parser, learning_rate=1e-4, max_steps=5000, batch_size=32, eval_freq=500, out_dir='runs/convnet_pytorch'
    )
    add_torch_flags(
        parser,
        optimizer='adam',
        precision='auto',
        augmentation='flip, shift and cut out the images; reflect mirrors the border, affine turns and stretches too',
    )
    parser.add_argument(
        '--cutout', type=number(int, 0, FULL), default=8, help='side in pixels of the square that --augment cuts out'
    )
    parser.add_argument(
        '--small_images',
        type=number(float, 0, 1),
        default=0.0,
        help=f'share of the steps, from the first, that see images shrunk to {SMALL} x {SMALL} pixels: faster',
    )
    length.add_argument(
        '--epochs', type=number(int, 1, 10**9), help='passes over the training set, instead of --max_steps'
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='report the test accuracy over each image and its mirror image, and over six views of it, too',
    )
    flags = parser.parse_args(argv)
    check_torch_flags(parser, flags)
    if flags.cutout != parser.get_default('cutout') and flags.augment == 'none':
        parser.error('--cutout needs --augment')
    return flags


def train(flags):
    """Trains and returns the history, a dict per evaluation."""
    reuse_freed_memory()
    machine = Machine(flags)
    run = Run(flags, record=machine.rank == 0, compute=machine.compute)
    data = load_data(flags, flags.standardize)
    train_set = data['train']
    evaluated = [name for name in ('validation', 'test') if data[name].num_examples]
    if flags.epochs:
        run.max_steps = flags.epochs * (train_set.num_examples // flags.batch_size)

    np.random.seed(flags.seed)
    torch.manual_seed(flags.seed)
    generator = torch.Generator().manual_seed(flags.seed)
    model = ConvNet(3, 10).to(machine.device, memory_format=machine.memory_format)
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
            side = SMALL if run.step < flags.small_images * run.max_steps else FULL
            if side < FULL:
                x = F.interpolate(x, size=side, mode='bilinear', antialias=True)
            if flags.augment != 'none':
                x = augment(x, generator, machine, flags.augment, side // 8, cutout=flags.cutout * side // FULL)
            if mix and run.step < flags.mix_until * run.max_steps:
                x, y = mix(x, y)  # (B, 3, side, side), (B,) or (B, 10)

            with machine.autocast():
                logits = network(x)  # (B, 10)
                loss = cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()
            with machine.autocast():  # Muon multiplies matrices
                optimizer.step()
            scheduler.step()
            if ema:
                ema.update_parameters(model)

            run.count_step(*machine.mean(loss, accuracy(logits, y)))
            progress.update(flags.batch_size)
            if run.is_evaluation_due():
                run.log({name: evaluate(averaged, data[name], machine) for name in evaluated})
                run.write_history(writer)
                save_checkpoint(checkpoint, run, machine, data, generator, **parts)
                run.print_row()

    more = {}
    if not run.finished:
        if flags.tta:
            for name, views in (('flip', 2), ('tta', 6)):
                more[f'test_accuracy_{name}'] = evaluate(averaged, data['test'], machine, views=views)[1]
        logits, _ = predict_logits(averaged, data['test'], machine)
        if run.record:
            probabilities = logits.softmax(1).numpy()
            more['class_accuracy'] = plot_predictions(run.path, data['test'], probabilities, class_names(flags))
            plot_filters(run.path, averaged.features[0].weight.detach().float().cpu().numpy())
    run.finish(**more)
    return run.history


if __name__ == '__main__':
    run_script(train, parse_flags(), leave)
