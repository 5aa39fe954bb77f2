import torch
import torch.nn as nn


class MLP(nn.Module):
    def __init__(self, n_inputs, n_hidden, n_classes, neg_slope):
        super(MLP, self).__init__()
        dims = [n_inputs] + n_hidden
        self.linears = nn.ModuleList([nn.Linear(dims[i], dims[i + 1]) for i in range(len(n_hidden))])
        self.last = nn.Linear(dims[-1], n_classes)
        self.act = nn.LeakyReLU(neg_slope)

    def forward(self, x):
        for layer in self.linears:
            x = self.act(layer(x))
        out = self.last(x)
        return out
