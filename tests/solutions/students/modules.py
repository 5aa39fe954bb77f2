"""
This module implements various modules of the network.
"""

from __future__ import absolute_import, division, print_function
import numpy as np


class LinearModule(object):
    def __init__(self, in_features, out_features):
        mu, sigma = 0, 0.0001
        self.params = {'weight': None, 'bias': None}
        self.grads = {'weight': None, 'bias': None}
        self.params['weight'] = np.random.normal(mu, sigma, (in_features, out_features))
        self.params['bias'] = np.zeros((1, out_features))
        self.grads['weight'] = np.zeros((in_features, out_features))
        self.grads['bias'] = np.zeros((1, out_features))

    def forward(self, x):
        self.input = x
        out = np.dot(x, self.params['weight']) + self.params['bias']
        return out

    def backward(self, dout):
        dx = np.dot(dout, self.params['weight'].T)
        self.grads['weight'] = np.dot(self.input.T, dout)
        self.grads['bias'] = np.sum(dout, axis=0, keepdims=True)
        return dx


class LeakyReLUModule(object):
    def __init__(self, neg_slope):
        self.a = neg_slope

    def forward(self, x):
        self.x = x
        out = np.maximum(0, x) + self.a * np.minimum(0, x)
        return out

    def backward(self, dout):
        grad = np.ones(self.x.shape)
        grad[self.x <= 0] = self.a
        dx = dout * grad
        return dx


class SoftMaxModule(object):
    def forward(self, x):
        b = x.max(axis=1).reshape(-1, 1)
        e = np.exp(x - b)
        self.s = e / e.sum(axis=1).reshape(-1, 1)
        return self.s

    def backward(self, dout):
        n, k = self.s.shape
        dx = np.zeros((n, k))
        for i in range(n):
            p = self.s[i].reshape(-1, 1)
            jac = np.diagflat(p) - np.dot(p, p.T)
            dx[i] = np.dot(dout[i], jac)
        return dx


class CrossEntropyModule(object):
    def forward(self, x, y):
        n = x.shape[0]
        out = -np.sum(y * np.log(x + 1e-12)) / n
        return out

    def backward(self, x, y):
        n = x.shape[0]
        dx = -(y / (x + 1e-12)) / n
        return dx
