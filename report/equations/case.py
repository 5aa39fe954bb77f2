"""What the checks of the report's equations share: a network written as the report writes it, and its derivatives.

Imported here is all that the equations are held against beyond the assignment's own modules.
"""

from itertools import pairwise

import numpy as np

from experiments.best_mlp import Whitening, hard_threshold_, local_, soft_threshold_
from experiments.muon import Muon
from gradient_check import eval_numerical_gradient, eval_numerical_gradient_array
from training.convolution import SmallImageConv2d
from unittests import EXACT, NUMERICAL_ATOL, NUMERICAL_RTOL, GradientTestCase

__all__ = [
    'EXACT',
    'NUMERICAL_ATOL',
    'NUMERICAL_RTOL',
    'Muon',
    'ReportTestCase',
    'SmallImageConv2d',
    'Whitening',
    'hard_threshold_',
    'local_',
    'soft_threshold_',
]


class ReportTestCase(GradientTestCase):
    """Checks of report/report.tex: test_eq_NAME transcribes the equation labelled eq:NAME, test_err_NAME a slip.

    A sample's vectors are columns in the report, hence vectors here; a batch has a row per sample.
    """

    sizes = (6, 5, 4, 3)  # n_0 ... n_N: no two alike, so that a transposed matrix does not fit
    B = 7
    eps = 1e-5

    def setUp(self):
        super().setUp()
        self.N = len(self.sizes) - 1
        self.W, self.b = [None], [None]  # so that W[l] is W^(l)
        for n_in, n_out in pairwise(self.sizes):
            self.W.append(self.rng.normal(size=(n_out, n_in)) / n_in**0.5)  # no probability comes near 0
            self.b.append(self.rng.normal(size=n_out) / 2)
        self.sample = self.rng.normal(size=self.sizes[0]), self.distributions(1, self.sizes[-1])[0]
        self.batch = self.rng.normal(size=(self.B, self.sizes[0])), self.distributions(self.B, self.sizes[-1])

    def jacobian(self, f, x):
        """∂f(x)/∂x by central differences, of shape f(x).shape + x.shape."""
        y = f(x)
        rows = [eval_numerical_gradient_array(f, x, e.reshape(y.shape)) for e in np.eye(y.size)]
        return np.reshape(rows, y.shape + x.shape)

    @staticmethod
    def softmax(x):
        return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)

    @staticmethod
    def cross_entropy(x, t):
        """L of a sample, its mean over a batch."""
        return -np.mean(np.sum(t * np.log(x), axis=-1))

    def activate(self, x, layer):
        return np.maximum(0, x) if layer < self.N else self.softmax(x)

    def forward(self, x0):
        """The lists of x^(l) and x̃^(l), with x[0] the input."""
        x, x_tilde = [x0], [None]
        for layer in range(1, self.N + 1):
            x_tilde.append(x[-1] @ self.W[layer].T + self.b[layer])
            x.append(self.activate(x_tilde[-1], layer))
        return x, x_tilde

    def loss_of(self, x, layer, t):
        """L as a function of x^(layer) alone."""
        for following in range(layer + 1, self.N + 1):
            x = self.activate(x @ self.W[following].T + self.b[following], following)
        return self.cross_entropy(x, t)

    def gradients(self, x0, t):
        """∂L/∂x^(l), ∂L/∂x̃^(l), ∂L/∂W^(l) and ∂L/∂b^(l) by central differences, lists indexed by l."""
        x, x_tilde = self.forward(x0)
        dx, dx_tilde, dW, db = ([None] * (self.N + 1) for _ in range(4))
        for k in range(self.N + 1):
            dx[k] = eval_numerical_gradient(lambda x, k=k: self.loss_of(x, k, t), x[k], False)
        for k in range(1, self.N + 1):
            dx_tilde[k] = eval_numerical_gradient(
                lambda x, k=k: self.loss_of(self.activate(x, k), k, t), x_tilde[k], False
            )
            dW[k] = eval_numerical_gradient(lambda _: self.loss_of(x0, 0, t), self.W[k], False)
            db[k] = eval_numerical_gradient(lambda _: self.loss_of(x0, 0, t), self.b[k], False)
        return dx, dx_tilde, dW, db

    def normalise(self, x, gamma=1.0, beta=0.0):
        return gamma * (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + self.eps) + beta
