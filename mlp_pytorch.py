"""Question 2: the multi-layer perceptron in PyTorch."""

import math
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from custom_batchnorm import CustomBatchNormAutograd, CustomBatchNormManualModule

ACTIVATIONS = {
    'relu': nn.ReLU,
    'leaky_relu': nn.LeakyReLU,
    'elu': nn.ELU,
    'gelu': nn.GELU,
    'silu': nn.SiLU,
    'tanh': nn.Tanh,
}
BATCH_NORMS = {
    'torch': nn.BatchNorm1d,
    'autograd': CustomBatchNormAutograd,
    'manual': CustomBatchNormManualModule,
}


def normal_(weight):
    """The assignment's initialisation, drawn as NumPy's MLP draws it: a seed gives both the same network."""
    weight.data.copy_(torch.from_numpy(np.random.normal(0, 1e-4, weight.shape)))


def kaiming_(weight):
    nn.init.kaiming_normal_(weight, nonlinearity='relu')


def local_(layers, reaches=(1.5, 6.0)):
    """Gives every hidden unit a place in the image, and weights that fall off with the distance from it.

    Unit i at p_i with the reach r_i starts with w_ij ∝ n_ij exp(−|p_i − p_j|² / 2 r_i²), where p_j is the place of the
    pixel or unit that it reads, n is normal noise, over pixels smoothed by a Gaussian of one pixel, and |w_i|² = 2.
    Places are uniform, reaches log-uniform. Only the start is local: every weight is trained. The last layer is as with
    kaiming_.

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
    kaiming_(last.weight)


def each(init_, layers):
    """Initialises the weight of each layer."""
    for layer in layers:
        init_(layer.weight)


INITS = {
    'normal': partial(each, normal_),
    'pytorch': partial(each, partial(nn.init.kaiming_uniform_, a=5**0.5)),  # what nn.Linear does by itself
    'xavier': partial(each, nn.init.xavier_normal_),
    'kaiming': partial(each, kaiming_),
    'local': local_,
}


class Whitening(nn.Module):
    """Fixed linear layer that makes the pixels of images uncorrelated (ZCA: Bell and Sejnowski, 1997).

    Forward:   out = x Z,   Z = s (C + ε I)^(-1/2),   C = 1/N Σₙ xₙᵀ xₙ, with rows xₙ

    Neighbouring pixels are almost equal: a few directions hold most of the variance, and the edges hide in the rest.
    Behind Z, directions of a variance far above ε are alike, and those far below it, noise among them, stay small. Of
    all matrices that whiten, the symmetric one changes images least: a pixel keeps its place. s makes the mean variance
    of the outputs 1.

    Shape: x and out (B, n).
    """

    def __init__(self, n):
        super().__init__()
        self.Z = nn.Parameter(torch.eye(n), requires_grad=False)  # a buffer would be sent to each process at every step

    def forward(self, x):
        return x @ self.Z

    @torch.no_grad()
    def fit(self, batches, eps):
        """Sets Z from batches of centred images, (n, ...) each, and eps > 0, in units of their variance."""
        C, N = 0, 0
        for x in batches:
            x = x.flatten(1)
            C += x.T @ x
            N += len(x)
        eigenvalues, V = torch.linalg.eigh(C.double() / N)
        sizes = (eigenvalues.clamp(min=0) + eps) ** -0.5
        s = (sizes**2 * eigenvalues).mean() ** -0.5
        self.Z.copy_(s * (V * sizes) @ V.T)


class MLP(nn.Module):
    """Linear layers and activations in turn, then a linear layer; the softmax is left to the loss.

    Args:
        n_inputs: size of a sample.
        n_hidden: list of hidden sizes, a linear layer and an activation each; empty for logistic regression.
        n_classes: number of classes.
        batch_norm: 'none', or what stands between a linear layer and its activation: 'torch', 'autograd' or 'manual',
            the last two being those of question 3.
        dropout: probability of dropping a hidden unit, after the activation.
        activation: one of ACTIVATIONS.
        init: of the weights, one of INITS; biases are 0. 'local' is for images of 3 x 32 x 32 pixels.
        whiten: whether a Whitening stands before all, layers[0]. It does nothing until it is fitted.
    Attributes:
        layers: the modules, in order.
    Raises:
        ValueError: if a size is not positive or does not go with the initialisation, or if there is no batch norm,
            activation or initialisation of that name.
    """

    def __init__(
        self,
        n_inputs,
        n_hidden,
        n_classes,
        *,
        batch_norm='none',
        dropout=0.0,
        activation='relu',
        init='normal',
        whiten=False,
    ):
        super().__init__()
        if min(n_inputs, n_classes, *n_hidden) < 1:
            raise ValueError(f'sizes must be positive, got {n_inputs}, {list(n_hidden)} and {n_classes}')
        for name, known in [(batch_norm, ['none', *BATCH_NORMS]), (activation, ACTIVATIONS), (init, INITS)]:
            if name not in known:
                raise ValueError(f'expected one of {", ".join(known)}, got {name}')
        layers = [Whitening(n_inputs)] if whiten else []
        n_in = n_inputs
        for n_out in n_hidden:
            layers.append(nn.Linear(n_in, n_out))
            if batch_norm != 'none':
                layers.append(BATCH_NORMS[batch_norm](n_out))
            layers.append(ACTIVATIONS[activation]())
            if dropout:
                layers.append(nn.Dropout(dropout))
            n_in = n_out
        layers.append(nn.Linear(n_in, n_classes))
        self.layers = nn.Sequential(*layers)
        INITS[init](self.linear_layers)
        for layer in self.linear_layers:
            nn.init.zeros_(layer.bias)

    @property
    def linear_layers(self):
        """The linear layers, in order."""
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def forward(self, x):
        """Logits (B, n_classes) of x (B, n_inputs), or of images (B, ...) with n_inputs pixels each."""
        return self.layers(x.flatten(1))


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
