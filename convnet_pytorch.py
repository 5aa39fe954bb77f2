"""Question 4: the ConvNet of the assignment's Table 1, a small VGG (Simonyan and Zisserman, 2015)."""

from torch import nn

# Table 1. A number is the output channels of a convolution, 'M' a max-pool.
LAYERS = [64, 'M', 128, 'M', 256, 256, 'M', 512, 512, 'M', 512, 512, 'M']


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
                layers += [nn.Conv2d(n_channels, n_out, kernel_size=3, padding=1), nn.BatchNorm2d(n_out)]
                layers += [nn.ReLU(inplace=True)]
                n_channels = n_out
        self.features = nn.Sequential(*layers, nn.AvgPool2d(kernel_size=1))  # (B, 512, 1, 1)
        self.classifier = nn.Linear(n_channels, n_classes)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))
