"""Question 1.2: the multi-layer perceptron in NumPy, with hand-written backpropagation."""

import math

import numpy as np

from modules import LinearModule, ReLUModule, SoftMaxModule


class MLP:
    """Linear and ReLU layers in turn, then a linear layer and a softmax.

    Args:
        n_inputs: size of a sample.
        n_hidden: list of hidden sizes, a linear layer and a ReLU each; empty for multinomial logistic regression.
        n_classes: number of classes.
        dtype: of the parameters.
    Attributes:
        layers: the modules, in order.
    Raises:
        TypeError: if dtype is no float.
        ValueError: if a size is not positive, or if x or dout has a wrong shape.
    """

    def __init__(self, n_inputs, n_hidden, n_classes, dtype=np.float64):
        self.layers = []
        n_in = n_inputs
        for n_out in n_hidden:
            self.layers += [LinearModule(n_in, n_out, dtype), ReLUModule()]
            n_in = n_out
        self.layers += [LinearModule(n_in, n_classes, dtype), SoftMaxModule()]

    @property
    def linear_layers(self):
        """The layers that have parameters."""
        return [layer for layer in self.layers if isinstance(layer, LinearModule)]

    def forward(self, x):
        """Probabilities (B, n_classes) of x (B, n_inputs), or of images (B, ...) with n_inputs pixels each."""
        out = x.reshape(*x.shape[:1], math.prod(x.shape[1:]))  # -1 would not do for an empty batch
        for layer in self.layers:
            out = layer.forward(out)
        return out

    def backward(self, dout):
        """Sets the `grads` of every linear layer, given dout = ∂L/∂(probabilities), (B, n_classes).

        The chain rule from the last layer to the first: (1.22) at the logits, then (1.23) layer by layer.
        """
        for layer in reversed(self.layers[1:]):
            dout = layer.backward(dout)
        # ∂L/∂(images) would cost as much as the layer's forward pass, and nobody asks for it.
        self.layers[0].backward(dout, input_gradient=False)

    def state_dict(self):
        """The parameters, {'layer0': {'weight', 'bias'}, ...}: the arrays themselves, not copies."""
        return {f'layer{i}': dict(layer.params) for i, layer in enumerate(self.linear_layers)}

    def load_state_dict(self, state):
        """Sets the parameters to those of another network of the same sizes.

        Raises:
            ValueError: if a shape is another.
        """
        for i, layer in enumerate(self.linear_layers):
            for name, param in layer.params.items():
                stored = state[f'layer{i}'][name]
                if stored.shape != param.shape:  # NumPy would repeat a single row
                    raise ValueError(f'expected {name} of shape {param.shape}, got {stored.shape}')
                param[...] = stored
