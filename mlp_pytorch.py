"""Question 2: the multi-layer perceptron in PyTorch."""

import numpy as np
import torch
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


INITS = {
    'normal': normal_,
    'pytorch': lambda weight: weight,  # nn.Linear has initialised it
    'xavier': nn.init.xavier_normal_,
    'kaiming': lambda weight: nn.init.kaiming_normal_(weight, nonlinearity='relu'),
}


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
        init: of the weights, one of INITS; biases are 0.
    Attributes:
        layers: the modules, in order.
    Raises:
        ValueError: if a size is not positive, or if there is no batch norm, activation or initialisation of that
            name.
    """

    def __init__(
        self, n_inputs, n_hidden, n_classes, *, batch_norm='none', dropout=0.0, activation='relu', init='normal'
    ):
        super().__init__()
        if min(n_inputs, n_classes, *n_hidden) < 1:
            raise ValueError(f'sizes must be positive, got {n_inputs}, {list(n_hidden)} and {n_classes}')
        for name, known in [(batch_norm, ['none', *BATCH_NORMS]), (activation, ACTIVATIONS), (init, INITS)]:
            if name not in known:
                raise ValueError(f'expected one of {", ".join(known)}, got {name}')
        layers = []
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
        for layer in self.linear_layers:
            INITS[init](layer.weight)
            nn.init.zeros_(layer.bias)

    @property
    def linear_layers(self):
        """The linear layers, in order."""
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def forward(self, x):
        """Logits (B, n_classes) of x (B, n_inputs), or of images (B, ...) with n_inputs pixels each."""
        return self.layers(x.flatten(1))
