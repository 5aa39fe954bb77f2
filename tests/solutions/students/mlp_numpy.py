from __future__ import absolute_import, division, print_function
from modules import *


class MLP(object):
    def __init__(self, n_inputs, n_hidden, n_classes, neg_slope):
        self.hidden = []
        self.activations = []
        size = n_inputs
        for h in n_hidden:
            self.hidden.append(LinearModule(size, h))
            self.activations.append(LeakyReLUModule(neg_slope))
            size = h
        self.out_layer = LinearModule(size, n_classes)
        self.softmax = SoftMaxModule()

    def forward(self, x):
        for i in range(len(self.hidden)):
            x = self.hidden[i].forward(x)
            x = self.activations[i].forward(x)
        x = self.out_layer.forward(x)
        out = self.softmax.forward(x)
        return out

    def backward(self, dout):
        dout = self.softmax.backward(dout)
        dout = self.out_layer.backward(dout)
        for i in range(len(self.hidden) - 1, -1, -1):
            dout = self.activations[i].backward(dout)
            dout = self.hidden[i].backward(dout)
        return
