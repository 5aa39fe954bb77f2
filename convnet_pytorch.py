"""Question 4: the ConvNet of the assignment's Table 1, a small VGG (Simonyan and Zisserman, 2015)."""

import torch
import torch.nn.functional as F
from torch import nn

from torch_utils import cpu_has

# Table 1. A number is the output channels of a convolution, 'M' a max-pool.
LAYERS = [64, 'M', 128, 'M', 256, 256, 'M', 512, 512, 'M', 512, 512, 'M']


class Conv3x3(nn.Conv2d):
    """Convolution with 3x3 filters, stride 1, padding 1 and bias.

    Forward:   Y = P Wᵀ + b, where a row of P holds what one position of one image reads: 3x3 pixels of each channel

    Images of up to 8 positions, with AMX 16, are computed just so on a CPU, as one matrix product: oneDNN's gradient
    of W is slow for them. Everything else is left to PyTorch's convolution, which need not form P.

    Shape: x (B, n_in, H, W), out (B, n_out, H, W), weight W (n_out, n_in, 3, 3), bias (n_out,).
    """

    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out, kernel_size=3, padding=1)

    def forward(self, x):
        height, width = x.shape[2:]
        if not x.is_cpu or height * width > (16 if cpu_has('amx_bf16') else 8):
            return super().forward(x)
        x = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))  # (B, H + 2, W + 2, n_in)
        P = torch.cat([x[:, i : i + height, j : j + width] for i in range(3) for j in range(3)], dim=3)
        W = self.weight.permute(0, 2, 3, 1).flatten(1)  # (n_out, 9 n_in), as P is (B, H, W, 9 n_in)
        return F.linear(P, W, self.bias).permute(0, 3, 1, 2)


class ConvNet(nn.Module):
    """Eight convolutions, five max-pools and a linear layer.

    A convolution is 3x3 with stride 1, padding 1 and bias, followed by batch normalisation and ReLU; a max-pool is 3x3
    with stride 2 and padding 1, so that each halves height and width: 32, 16, 8, 4, 2, 1. Parameters are initialised as
    PyTorch does by default; there are 9,231,114 for 3 channels and 10 classes.

    Shape: x (B, n_channels, 32, 32), logits (B, n_classes).
    """

    def __init__(self, n_channels, n_classes):
        super().__init__()
        layers = []
        for n_out in LAYERS:
            if n_out == 'M':
                layers += [nn.MaxPool2d(kernel_size=3, stride=2, padding=1)]
            else:
                layers += [Conv3x3(n_channels, n_out), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]
                n_channels = n_out
        self.features = nn.Sequential(*layers, nn.AvgPool2d(kernel_size=1))  # (B, 512, 1, 1)
        self.classifier = nn.Linear(n_channels, n_classes)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))
