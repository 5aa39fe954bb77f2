"""A faster product for small images."""

import torch
import torch.nn.functional as F
from torch import nn

from training.hardware import cpu_has


class SmallImageConv2d(nn.Conv2d):
    """A convolution with 3x3 filters, stride 1 and padding 1 that computes small images as one matrix product.

    Forward:   Y = P Wᵀ + b, where a row of P holds what one position of one image reads: 3x3 pixels of each channel

    Images of up to 8 positions, with AMX 16, are computed just so on a CPU: oneDNN's gradient of W is slow for them.
    Everything else is left to PyTorch's convolution, which need not form P.

    Shape: x (B, n_in, H, W), out (B, n_out, H, W), weight W (n_out, n_in, 3, 3), bias (n_out,).
    """

    def forward(self, x):
        height, width = x.shape[2:]
        if not x.is_cpu or height * width > (16 if cpu_has('amx_bf16') else 8):
            return super().forward(x)
        x = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))  # (B, H + 2, W + 2, n_in)
        P = torch.cat([x[:, i : i + height, j : j + width] for i in range(3) for j in range(3)], dim=3)
        W = self.weight.permute(0, 2, 3, 1).flatten(1)  # (n_out, 9 n_in), as P is (B, H, W, 9 n_in)
        return F.linear(P, W, self.bias).permute(0, 3, 1, 2)


def use_matrix_products(model):
    """Turns every convolution of the model that it suits into a SmallImageConv2d, in place; its weights are kept."""
    wanted = {'kernel_size': (3, 3), 'stride': (1, 1), 'padding': (1, 1), 'dilation': (1, 1), 'groups': 1}
    wanted |= {'padding_mode': 'zeros'}
    for layer in model.modules():
        if type(layer) is nn.Conv2d and all(getattr(layer, name) == value for name, value in wanted.items()):
            layer.__class__ = SmallImageConv2d
