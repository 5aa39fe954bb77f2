import torch.nn as nn


def conv(n_in, n_out):
    return [nn.Conv2d(n_in, n_out, kernel_size=(3, 3), stride=1, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()]


def pool():
    return [nn.MaxPool2d((3, 3), stride=2, padding=1)]


class ConvNet(nn.Module):
    def __init__(self, n_channels, n_classes):
        super(ConvNet, self).__init__()
        net = conv(n_channels, 64) + pool()
        net += conv(64, 128) + pool()
        net += conv(128, 256) + conv(256, 256) + pool()
        net += conv(256, 512) + conv(512, 512) + pool()
        net += conv(512, 512) + conv(512, 512) + pool()
        self.cnn = nn.Sequential(*net)
        self.avg = nn.AvgPool2d(kernel_size=1, stride=1, padding=0)
        self.fc = nn.Linear(512, n_classes)

    def forward(self, x):
        out = self.avg(self.cnn(x))
        return self.fc(out.view(out.shape[0], -1))
