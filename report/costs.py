"""What the training of a network costs, counted by code: operations and bytes of a step, and a ConvNet's layers."""

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from convnet_pytorch import ConvNet
from mlp_numpy import MLP
from modules import CrossEntropyModule


class Counted(np.ndarray):
    """An array whose operations are counted: FLOPs of products and of the rest, bytes read and written.

    A product of (m, k) and (k, n) has 2 m k n FLOPs, any other operation one per element. Each operation reads its
    arrays and writes its result once.
    """

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **kwargs):
        def plain(a):
            return a.view(np.ndarray) if isinstance(a, Counted) else a

        if out:
            kwargs['out'] = tuple(map(plain, out))
        result = getattr(ufunc, method)(*map(plain, inputs), **kwargs)
        arrays = [a for a in inputs if isinstance(a, np.ndarray)]
        if ufunc is np.matmul:
            Counted.tally['product'] += 2 * result.size * arrays[0].shape[-1]
        else:
            Counted.tally['other'] += max(a.size for a in (*arrays, result))
        Counted.tally['bytes'] += sum(a.nbytes for a in (*arrays, result))
        return out[0] if out else result.view(Counted) if isinstance(result, np.ndarray) else result

    @classmethod
    def count(cls, phase):
        """The tally of what a function computes."""
        cls.tally = {'product': 0, 'other': 0, 'bytes': 0}
        phase()
        return cls.tally


def step_cost(n_hidden, batch_size):
    """The tallies of a training step of question 1.2 in float32: {'forward', 'backward', 'update'}."""
    model, cross_entropy = MLP(3 * 32 * 32, n_hidden, 10, np.float32), CrossEntropyModule()
    for layer in model.linear_layers:
        layer.params = {name: param.view(Counted) for name, param in layer.params.items()}
    x = np.zeros((batch_size, 3 * 32 * 32), np.float32).view(Counted)
    y = np.zeros(batch_size, int)

    def forward():
        cross_entropy.forward(model.forward(x), y)

    def backward():
        model.backward(cross_entropy.backward(model.layers[-1].out, y))

    def update():
        for layer in model.linear_layers:
            for name, param in layer.params.items():
                param -= np.float32(1) * layer.grads[name]

    return {phase.__name__: Counted.count(phase) for phase in (forward, backward, update)}


def total(cost):
    """The tally of all phases."""
    return {key: sum(tally[key] for tally in cost.values()) for key in ('product', 'other', 'bytes')}


def convnet_layers():
    """A (name, output shape, parameters, FLOPs) for each row of Table 1 of the assignment, for one image."""
    model = ConvNet(3, 10).eval()
    rows, x = [], torch.zeros(1, 3, 32, 32)
    names = {
        torch.nn.Conv2d: 'convolution, BN, ReLU',
        torch.nn.MaxPool2d: 'max-pool',
        torch.nn.AvgPool2d: 'average pool',
        torch.nn.Linear: 'linear',
    }
    for layer in (*model.features, model.classifier):
        x = x.flatten(1) if isinstance(layer, torch.nn.Linear) else x
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            x = layer(x)
        name = next((name for kind, name in names.items() if isinstance(layer, kind)), None)
        parameters = sum(p.numel() for p in layer.parameters())
        if name:
            rows.append([name, tuple(x.shape[1:]), parameters, counter.get_total_flops()])
        else:  # batch normalisation and ReLU belong to the convolution before them
            rows[-1][2] += parameters
    return rows
