"""Question 1: the modules, the chain, batches, and the implementation."""

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import mlp_pytorch
from gradient_check import eval_numerical_gradient
from modules import CrossEntropyModule, LinearModule, ReLUModule, SoftMaxModule

from .case import ReportTestCase


class TestReportModules(ReportTestCase):
    """Question 1.1 a): each module by itself, for one sample."""

    def test_eq_linear(self):
        """Equation 1.1."""
        x, W, b = self.rng.normal(size=6), self.W[1], self.b[1]
        x_tilde = W @ x + b
        module = LinearModule(6, 5)
        module.params = {'weight': W, 'bias': b}
        self.assert_equal_formulas(x_tilde, module.forward(x[None])[0])

    def test_eq_relu(self):
        """Equation 1.2."""
        x_tilde = self.rng.normal(size=6)
        self.assert_equal_formulas(np.maximum(0, x_tilde), ReLUModule().forward(x_tilde[None])[0])

    def test_eq_softmax(self):
        """Equation 1.3."""
        x_tilde = self.rng.normal(size=5)
        x = np.array([np.exp(x_tilde[i]) / sum(np.exp(x_tilde[j]) for j in range(5)) for i in range(5)])
        self.assert_equal_formulas(x, SoftMaxModule().forward(x_tilde[None])[0])

    def test_eq_cross_entropy(self):
        """Equation 1.4."""
        x, t = self.distributions(2, 5)
        L = -sum(t[i] * np.log(x[i]) for i in range(5))
        self.assert_equal_formulas(L, CrossEntropyModule().forward(x[None], t[None]))

    def test_eq_cross_entropy_gradient(self):
        """Equation 1.5."""
        x, t = self.distributions(2, 5)
        numerical = eval_numerical_gradient(lambda x: self.cross_entropy(x, t), x, verbose=False)
        self.assert_numerical(-t / x, numerical)

    def test_eq_softmax_index(self):
        """Equation 1.6."""
        x_tilde = self.rng.normal(size=5)
        x, delta = self.softmax(x_tilde), np.eye(5)
        e, total = np.exp(x_tilde), np.exp(x_tilde).sum()
        quotient = [[(delta[i, j] * e[i] * total - e[i] * e[j]) / total**2 for j in range(5)] for i in range(5)]
        closed = [[x[i] * (delta[i, j] - x[j]) for j in range(5)] for i in range(5)]
        for derivative in (quotient, closed):
            self.assert_numerical(derivative, self.jacobian(self.softmax, x_tilde))

    def test_eq_softmax_matrix(self):
        """Equation 1.7."""
        x_tilde = self.rng.normal(size=5)
        x = self.softmax(x_tilde)
        self.assert_numerical(np.diag(x) - np.outer(x, x), self.jacobian(self.softmax, x_tilde))

    def test_eq_relu_jacobian(self):
        """Equation 1.8."""
        x_tilde, delta = self.rng.normal(size=6), np.eye(6)
        numerical = self.jacobian(lambda x: np.maximum(0, x), x_tilde)
        index = [[delta[i, j] * (x_tilde[i] > 0) for j in range(6)] for i in range(6)]
        self.assert_numerical(index, numerical)
        self.assert_numerical(np.diag(x_tilde > 0), numerical)

    def test_eq_linear_input(self):
        """Equation 1.9."""
        x, W, b = self.rng.normal(size=6), self.W[1], self.b[1]
        self.assert_numerical(W, self.jacobian(lambda x: W @ x + b, x))

    def test_eq_linear_weight(self):
        """Equation 1.10."""
        x, W, b, delta = self.rng.normal(size=6), self.W[1], self.b[1], np.eye(5)
        tensor = [[[delta[i, j] * x[k] for k in range(6)] for j in range(5)] for i in range(5)]
        self.assert_numerical(tensor, self.jacobian(lambda W: W @ x + b, W))

    def test_eq_linear_bias(self):
        """Equation 1.11."""
        x, W, b = self.rng.normal(size=6), self.W[1], self.b[1]
        self.assert_numerical(np.eye(5), self.jacobian(lambda b: W @ x + b, b))


class TestReportChain(ReportTestCase):
    """Question 1.1 b): the modules in a row, for one sample."""

    def setUp(self):
        super().setUp()
        x0, self.t = self.sample
        self.x, self.x_tilde = self.forward(x0)
        self.dx, self.dx_tilde, self.dW, self.db = self.gradients(x0, self.t)
        self.hidden = range(1, self.N)

    def test_eq_chain_output(self):
        """Equation 1.12."""
        x, t = self.x[-1], self.t
        self.assert_numerical((np.diag(x) - np.outer(x, x)) @ (-t / x), self.dx_tilde[-1])
        self.assert_numerical(-t + x * t.sum(), self.dx_tilde[-1])
        self.assert_numerical(x - t, self.dx_tilde[-1])

    def test_eq_chain_input(self):
        """Equation 1.13."""
        for k in self.hidden:
            self.assert_numerical(self.W[k + 1].T @ self.dx_tilde[k + 1], self.dx[k])

    def test_eq_chain_hidden(self):
        """Equation 1.14."""
        for k in self.hidden:
            step, back = self.x_tilde[k] > 0, self.W[k + 1].T @ self.dx_tilde[k + 1]
            self.assert_numerical(np.diag(step) @ self.dx[k], self.dx_tilde[k])
            self.assert_numerical(step * back, self.dx_tilde[k])

    def test_eq_chain_weight(self):
        """Equation 1.15."""
        for k in range(1, self.N + 1):
            g, x, (n_out, n_in) = self.dx_tilde[k], self.x[k - 1], self.W[k].shape
            delta = np.eye(n_out)
            index = [[sum(g[i] * delta[i, j] * x[m] for i in range(n_out)) for m in range(n_in)] for j in range(n_out)]
            self.assert_numerical(index, self.dW[k])
            self.assert_numerical(np.outer(g, x), self.dW[k])

    def test_eq_chain_bias(self):
        """Equation 1.16."""
        for k in range(1, self.N + 1):
            self.assert_numerical(np.eye(len(self.b[k])).T @ self.dx_tilde[k], self.db[k])
            self.assert_numerical(self.dx_tilde[k], self.db[k])

    def test_eq_product(self):
        """Equation 1.17."""
        D = [None] + [np.diag(x_tilde > 0) for x_tilde in self.x_tilde[1:]]
        for k in range(1, self.N + 1):
            factors = np.eye(len(self.b[k]))
            for n in range(k, self.N):
                factors = factors @ D[n] @ self.W[n + 1].T
            self.assert_numerical(factors @ (self.x[-1] - self.t), self.dx_tilde[k])


class TestReportBatches(ReportTestCase):
    """Question 1.1 c): a row per sample."""

    def setUp(self):
        super().setUp()
        x0, self.t = self.batch
        self.x, self.x_tilde = self.forward(x0)
        self.dx, self.dx_tilde, self.dW, self.db = self.gradients(x0, self.t)

    def test_eq_batch_loss(self):
        """Equation 1.18."""
        x, t = self.x[-1], self.t
        L = -sum(t[b, i] * np.log(x[b, i]) for b in range(self.B) for i in range(3)) / self.B
        self.assert_equal_formulas(L, CrossEntropyModule().forward(x, t))

    def test_eq_batch_linear(self):
        """Equation 1.19."""
        for k in range(1, self.N + 1):
            X, W, b = self.x[k - 1], self.W[k], self.b[k]
            module = LinearModule(*W.shape[::-1])
            module.params = {'weight': W, 'bias': b}
            self.assert_equal_formulas(X @ W.T + np.outer(np.ones(self.B), b), module.forward(X))

    def test_eq_batch_cross_entropy(self):
        """Equation 1.20."""
        x, t = self.x[-1], self.t
        gradient = [[-t[b, i] / (self.B * x[b, i]) for i in range(3)] for b in range(self.B)]
        self.assert_numerical(gradient, self.dx[-1])

    def test_eq_batch_softmax(self):
        """Equation 1.21."""
        X, G = self.x[-1], self.dx[-1]
        gradient = X * (G - np.outer((X * G) @ np.ones(3), np.ones(3)))
        self.assert_numerical(gradient, self.dx_tilde[-1])

    def test_eq_batch_output(self):
        """Equation 1.22."""
        self.assert_numerical((self.x[-1] - self.t) / self.B, self.dx_tilde[-1])

    def test_eq_batch_hidden(self):
        """Equation 1.23."""
        for k in range(1, self.N):
            self.assert_numerical((self.dx_tilde[k + 1] @ self.W[k + 1]) * (self.x_tilde[k] > 0), self.dx_tilde[k])

    def test_eq_batch_weight(self):
        """Equation 1.24."""
        for k in range(1, self.N + 1):
            self.assert_numerical(self.dx_tilde[k].T @ self.x[k - 1], self.dW[k])

    def test_eq_batch_bias(self):
        """Equation 1.25."""
        for k in range(1, self.N + 1):
            self.assert_numerical(self.dx_tilde[k].T @ np.ones(self.B), self.db[k])


class TestReportImplementation(ReportTestCase):
    """Question 1.2: what the code computes, and what it costs."""

    def test_eq_shifted_softmax(self):
        """Equation 1.26."""
        x_tilde = 500 + self.rng.normal(size=5)  # exp of it still fits into a float64
        m = x_tilde.max()
        x = np.exp(x_tilde - m) / np.exp(x_tilde - m).sum()
        self.assert_equal_formulas(x, self.softmax(x_tilde))
        self.assert_equal_formulas(x, SoftMaxModule().forward(x_tilde[None])[0])

    def test_eq_flops(self):
        """Equation 1.27. As PyTorch counts the products of its own twin, which needs no input gradient either."""
        n, N = self.sizes, self.N
        flops = 2 * self.B * (3 * sum(n[k] * n[k - 1] for k in range(1, N + 1)) - n[1] * n[0])
        model = mlp_pytorch.MLP(n[0], list(n[1:-1]), n[-1])
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(self.B, n[0])).sum().backward()
        self.assertEqual(flops, counter.get_total_flops())
