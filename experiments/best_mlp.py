"""How far an MLP gets on CIFAR-10 without convolutions: the best of question 2's modifications, all at once.

    python experiments/best_mlp.py
    python experiments/best_mlp.py --augment none --l1_penalty 0      # without some of them
    python experiments/best_mlp.py --dataset shapes10 --epochs 1      # no download

78.73 ± 0.02 %: mean and standard deviation over 3 seeds, at the last step; 0.44 PFLOP in 28 minutes on two cores of an
AMD EPYC with AVX512-BF16. Everything was chosen on a validation split; RESULTS.md says what each ingredient gave.

Beside what train_mlp_pytorch.py knows, it makes pixels uncorrelated, gives every hidden unit a place in the image to
start at, sees no image twice (affine augmentation), and keeps only weights that its images need (an L1 penalty, and
pruning of what that makes small).
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from cifar10_utils import N_CLASSES, N_PIXELS
from mlp_pytorch import MLP
from training.accuracy import accuracy
from training.augmentation import Augmentation, mirrored
from training.data import load_data, number_of_steps
from training.errors import RunError
from training.evaluation import evaluate
from training.flags import (
    ArgumentParser,
    add_data_flags,
    add_optimisation_flags,
    add_run_flags,
    fraction,
    hidden_units,
    number,
)
from training.optimisers import make_ema
from training.run import Run
from training.script import run_script
from training.torch_flags import add_machine_flags, check_below_one
from training.torch_machine import TorchMachine

HIDDEN = [2048, 2048, 2048, 1024]
LENGTH = {'learning_rate': 2e-3, 'epochs': 80, 'batch_size': 500}  # one cycle of Adam
LABEL_SMOOTHING, EMA = 0.1, 0.99
L1_PENALTY, PRUNE_BELOW = 0.03, 1e-3
WHITEN = 4.0
DEFORM, SHIFT = 0.2, 4  # of the affine augmentation: matrix entries, and pixels


def parse_flags(argv=None):
    parser = ArgumentParser(__file__, __doc__)
    small, positive = number(float, 0, 1e6), number(float, 0)
    add = parser.add_argument_group('ingredients').add_argument
    add('--dnn_hidden_units', type=hidden_units, default=HIDDEN, help='sizes, as in 512,256')
    add('--init', choices=['local', 'kaiming'], default='local', help='of the weights')
    add('--whiten', type=positive, default=WHITEN, help='added to the variances that whitening divides by; 0: none')
    add('--augment', choices=['affine', 'none'], default='affine', help='turn, stretch, shift and flip the images')
    add('--label_smoothing', type=fraction, default=LABEL_SMOOTHING, help='share of the target spread over all classes')
    add('--ema', type=fraction, default=EMA, help='decay of a moving average of the weights, evaluated in their place')
    add('--l1_penalty', type=small, default=L1_PENALTY, help='of the weights, taken off after each step')
    add('--prune_below', type=small, default=PRUNE_BELOW, help='zero weights that are no larger after a step')
    add_optimisation_flags(parser, **LENGTH)
    add_data_flags(parser)
    add_machine_flags(parser, precision='bf16')
    add_run_flags(parser, out_dir='runs/best_mlp', eval_freq=500)
    flags = parser.parse_args(argv)
    if not flags.dnn_hidden_units:
        parser.error('--dnn_hidden_units names no hidden layer, and there is nothing to normalise without one')
    check_below_one(parser, flags)
    return flags


def local_(layers, reaches=(1.5, 6.0)):
    """Gives every hidden unit a place in the image, and weights that fall off with the distance from it.

    Unit i at p_i with the reach r_i starts with w_ij ∝ n_ij exp(−|p_i − p_j|² / 2 r_i²), where p_j is the place of the
    pixel or unit that it reads, n is normal noise, over pixels smoothed by a Gaussian of one pixel, and |w_i|² = 2.
    Places are uniform, reaches log-uniform. Only the start is local: every weight is trained. The last layer is as with
    Kaiming's initialisation.

    Args:
        layers: the linear layers in order, of which the first reads images of 3 x 32 x 32 pixels.
        reaches: smallest and largest, in pixels.
    Raises:
        ValueError: if the first layer reads anything else.
    """
    side, (*hidden, last) = 32, layers
    if layers[0].in_features != 3 * side**2:
        raise ValueError(f'local weights are for images of 3 x 32 x 32 pixels, got {layers[0].in_features} inputs')
    axis = torch.arange(side) + 0.5
    places = torch.cartesian_prod(axis, axis).repeat(3, 1)  # (3 side², 2), of the pixels
    blur = torch.exp(-((axis[:, None] - axis) ** 2) / 2)
    for layer in hidden:
        n_out, n_in = layer.weight.shape
        noise = torch.randn(n_out, n_in)
        if layer is layers[0]:
            noise = (blur @ noise.view(n_out, 3, side, side) @ blur).flatten(1)
        reach = torch.empty(n_out, 1).uniform_(*map(math.log, reaches)).exp()
        own_places = side * torch.rand(n_out, 2)
        weight = noise * torch.exp(-((torch.cdist(own_places, places) / reach) ** 2) / 2)
        layer.weight.data.copy_(weight * (2 / (weight**2).sum(1, keepdim=True)).sqrt())
        places = own_places
    nn.init.kaiming_normal_(last.weight, nonlinearity='relu')


class Whitening(nn.Module):
    """Fixed linear layer that makes the pixels of images uncorrelated (ZCA: Bell and Sejnowski, 1997).

    Forward:   out = x Z,   Z = s (C + ε I)^(-1/2),   C = 1/N Σₙ xₙᵀ xₙ, with rows xₙ

    Neighbouring pixels are almost equal: a few directions hold most of the variance, and the edges hide in the rest.
    Behind Z, directions of a variance far above ε are alike, and those far below it, noise among them, stay small. Of
    all matrices that whiten, the symmetric one changes images least: a pixel keeps its place. s makes the mean variance
    of the outputs 1.

    Shape: x (B, n), or images (B, ...) of n pixels each, out (B, n).
    """

    def __init__(self, n):
        super().__init__()
        self.Z = nn.Parameter(torch.eye(n), requires_grad=False)  # a buffer would be sent to each process at every step

    def forward(self, x):
        return x.flatten(1) @ self.Z

    @torch.no_grad()
    def fit(self, batches, eps):
        """Sets Z from batches of centred images, (n, ...) each, and eps > 0, in units of their variance."""
        C, N = 0, 0
        for x in batches:
            x = x.flatten(1)
            C += x.T @ x
            N += len(x)
        eigenvalues, V = torch.linalg.eigh(C.cpu().double() / N)  # not every device has float64
        sizes = (eigenvalues.clamp(min=0) + eps) ** -0.5
        s = (sizes**2 * eigenvalues).mean() ** -0.5
        self.Z.copy_(s * (V * sizes) @ V.T)


class AffineAugmentation(Augmentation):
    """Flips, turns, stretches, shears and shifts images.

    What lands at position p relative to the centre comes from (I + E) p + t, E uniform in [-DEFORM, DEFORM]^(2x2), and
    t of up to SHIFT pixels. What lies beyond the border is 0, the mean image.
    """

    def __call__(self, x):
        """A new tensor of x's shape (B, C, H, W), this process's rows of the global batch."""
        B, _, H, W = x.shape
        N = B * self.machine.processes.world_size
        flipped = torch.randint(2, (N, 1), generator=self.generator)
        uniform = 2 * torch.rand(N, 2, 3, generator=self.generator) - 1
        # affine_grid measures in half image sides
        reach = torch.tensor([[DEFORM, DEFORM, 2 * SHIFT / W], [DEFORM, DEFORM, 2 * SHIFT / H]])
        warp = torch.eye(2, 3) + reach * uniform  # (N, 2, 3): [I + E, t]
        numbers = self._mine(torch.cat([flipped, warp.flatten(1)], 1))  # (B, 7)
        flipped, warp = numbers[:, 0].bool(), numbers[:, 1:].reshape(B, 2, 3).contiguous()
        x = F.grid_sample(x, F.affine_grid(warp, x.shape, align_corners=False), align_corners=False)
        return mirrored(x, flipped)


@torch.no_grad()
def soft_threshold_(weights, threshold):
    """Moves every weight towards 0 by the threshold, in place, and no further: w ← sign(w) max(|w| − threshold, 0).

    With the threshold ηλ, after a step of learning rate η, that is the proximal step of the penalty λ Σ|w|. It pulls
    small weights as hard as large ones, so that an MLP keeps those weights alone that its images need, the local ones
    (Neyshabur 2020, arXiv 2007.13657).
    """
    for weight in weights:
        F.softshrink(weight, threshold, out=weight)


@torch.no_grad()
def hard_threshold_(weights, threshold):
    """Sets every weight to 0 that is no further from it than the threshold, in place: w ← w 1[|w| > threshold].

    That is the proximal step of a price of threshold² / 2 for each weight that is not 0. After a soft threshold that is
    far smaller it is the β-LASSO of the same paper: what the penalty has made small is cut off at once, and only a
    single step longer than the threshold brings it back.
    """
    for weight in weights:
        F.hardshrink(weight, threshold, out=weight)


def check_weights(weights, step):
    """Raises RunError if all weights of a layer are 0: nothing of an image gets through it, nor a gradient back."""
    for i, weight in enumerate(weights, 1):
        if not weight.any():
            raise RunError(f'all weights of linear layer {i} are 0 at step {step}: lower --prune_below or --l1_penalty')


def share_of_zeros(weights):
    return sum((weight == 0).sum().item() for weight in weights) / sum(weight.numel() for weight in weights)


def make_model(flags):
    """The MLP, behind whitening, yet to be fitted, where the flags ask for it."""
    init = 'kaiming' if flags.init == 'kaiming' else 'pytorch'
    mlp = MLP(N_PIXELS, flags.dnn_hidden_units, N_CLASSES, batch_norm='torch', activation='gelu', init=init)
    if flags.init == 'local':
        local_(mlp.linear_layers)
    return nn.Sequential(Whitening(N_PIXELS), mlp) if flags.whiten else mlp


def train(flags):
    """Trains and returns the history, a dict per evaluation."""
    machine = TorchMachine(flags)
    data = load_data(flags, standardize=True)
    n_steps = number_of_steps(flags, data)

    np.random.seed(flags.seed)
    torch.manual_seed(flags.seed)
    model = make_model(flags)
    machine.place(model)
    if flags.whiten:
        images = machine.resident(data['train'])
        model[0].fit((images.at(rows)[0] for rows in data['train'].chunk_rows(1000)), flags.whiten)
    weights = [layer.weight for layer in model.modules() if isinstance(layer, nn.Linear)]
    network = machine.processes.parallel(model)
    augment = AffineAugmentation(flags.seed, machine) if flags.augment == 'affine' else nn.Identity()
    cross_entropy = nn.CrossEntropyLoss(label_smoothing=flags.label_smoothing)
    optimizer = torch.optim.Adam(model.parameters(), flags.learning_rate, fused=machine.device.type != 'mps')
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, flags.learning_rate, n_steps, cycle_momentum=False)
    scaler = machine.scaler()
    ema = make_ema(flags.ema, model)
    averaged = ema.module if ema else model
    state = dict(model=model, augment=augment, optimizer=optimizer, scheduler=scheduler, scaler=scaler, ema=ema)

    def evaluate_checked(data_set):
        check_weights(weights, run.step)
        return evaluate(averaged, data_set, machine, 1000)

    with Run(flags, machine, data, evaluate=evaluate_checked, **state) as run:
        for x, y in run.batches():  # (B, 3, 32, 32), (B,)
            x = augment(x)
            with machine.autocast():
                logits = network(x)  # (B, 10)
                loss = cross_entropy(logits, y)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            if flags.l1_penalty:
                soft_threshold_(weights, flags.l1_penalty * scheduler.get_last_lr()[0])
            if flags.prune_below:
                hard_threshold_(weights, flags.prune_below)
            scheduler.step()
            if ema:
                ema.update_parameters(model)
            run.after_step(loss, accuracy(logits, y))
        run.finish(zero_weights=share_of_zeros(weights))
    return run.history


if __name__ == '__main__':
    run_script(train, parse_flags())
