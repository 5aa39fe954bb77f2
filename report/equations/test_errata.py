"""The errata: each slip fails the check that the right formula passes."""

from typing import ClassVar

import numpy as np
import torch
from torch import nn

from gradient_check import eval_numerical_gradient
from modules import ReLUModule

from .case import EXACT, NUMERICAL_ATOL, ReportTestCase


class TestReportErrata(ReportTestCase):
    """Slips: the wrong formula fails the check that the right one passes.

    `disagreement` maps the name of a slip to max |wrong − truth| / max |truth|, which the report quotes.
    """

    disagreement: ClassVar[dict] = {}

    def assert_slip(self, wrong, right, truth):
        """`right` agrees with the truth, `wrong` errs in the first digits."""
        wrong, right, truth = map(np.asarray, (wrong, right, truth))
        self.assert_numerical(right, truth)
        size = np.max(np.abs(wrong - truth)) / np.max(np.abs(truth))
        self.assertGreater(size, 0.01)
        self.disagreement[self.id().partition('.test_err_')[2].replace('_', '-')] = float(size)

    def square(self):
        """Four layers of one width, in which matrices that do not belong together can be multiplied."""
        self.sizes = (5, 5, 5, 5, 5)
        self.setUp()
        x0, t = self.sample
        x, x_tilde = self.forward(x0)
        return x, x_tilde, t, *self.gradients(x0, t)

    def test_err_cross_entropy(self):
        x, t = self.distributions(1, 5)[0], np.eye(5)[2]
        truth = eval_numerical_gradient(lambda x: self.cross_entropy(x, t), x, verbose=False)
        wrong = 1 / x[t.argmax()]
        self.assert_slip(np.full(5, wrong), -t / x, truth)

    def test_err_chain_output(self):
        x0, t, delta = self.sample[0], np.eye(3)[2], np.eye(3)
        x = self.forward(x0)[0][-1]
        wrong = [
            sum(t[i] / x[i] * (delta[i, j] * (x[i] - x[i] ** 2) - (1 - delta[i, j]) * x[i] * x[j]) for i in range(3))
            for j in range(3)
        ]
        self.assert_equal_formulas(wrong, t - x)
        self.assert_slip(wrong, x - t, self.gradients(x0, t)[1][-1])

    def factors(self, x_tilde):
        """J[n] = ∂x̃^(n+1)/∂x^(n) ∂x^(n)/∂x̃^(n)."""
        return [None] + [self.W[n + 1] @ np.diag(x_tilde[n] > 0) for n in range(1, self.N)]

    def ascending(self, g, J):
        """The draft's ∂L/∂x̃^(1): layer N's factors, then the product from n = 1 up."""
        g = g @ J[self.N - 1]
        for n in range(1, self.N):
            g = g @ J[n]
        return g

    def test_err_product(self):
        x, x_tilde = self.forward(self.sample[0])
        with self.assertRaises(ValueError):  # with layers of different sizes, the shapes do not compose
            self.ascending(x[-1] - self.sample[1], self.factors(x_tilde))

        x, x_tilde, t, _, dx_tilde, _, _ = self.square()
        J, g = self.factors(x_tilde), x[-1] - t
        self.assert_slip(self.ascending(g, J), g @ J[3] @ J[2] @ J[1], dx_tilde[1])

    def test_err_linear_bias(self):
        x, W, b = self.sample[0], self.W[1], self.b[1]
        self.assert_slip(np.ones((5, 5)), np.eye(5), self.jacobian(lambda b: W @ x + b, b))
        # Contracted with it, no bias of the last layer would ever move.
        x, _ = self.forward(self.sample[0])
        self.assertLess(abs(np.ones(3) @ (x[-1] - self.sample[1])), EXACT)

    def test_err_linear_weight(self):
        x, W, b = self.sample[0], self.W[1], self.b[1]
        wrong = np.broadcast_to(x, (5, 5, 6))
        right = np.einsum('ij,k->ijk', np.eye(5), x)
        self.assert_slip(wrong, right, self.jacobian(lambda W: W @ x + b, W))

    def test_err_relu(self):
        """The truth here is a convention, that of PyTorch: central differences say 1/2."""
        zero = np.zeros(1)
        x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        (torchs,) = torch.autograd.grad(torch.relu(x).sum(), x)
        module = ReLUModule()
        module.forward(zero)
        self.assertEqual(module.backward(np.ones(1)), torchs.item())
        self.assertAlmostEqual(self.jacobian(lambda x: np.maximum(0, x), zero).item(), 0.5, delta=NUMERICAL_ATOL)
        wrong = (zero >= 0).item()
        self.disagreement['relu'] = wrong - torchs.item()
        self.assertEqual(self.disagreement['relu'], 1)

    def test_err_batch_bias(self):
        x0, t = self.batch
        x, _ = self.forward(x0)
        dx_tilde = (x[-1] - t) / self.B
        self.assert_slip(dx_tilde.mean(axis=0), dx_tilde.sum(axis=0), self.gradients(x0, t)[3][-1])

    def test_err_bessel(self):
        """Its gradients are those of its own forward pass: only another forward pass can tell."""
        x = self.rng.normal(size=(self.B, 3))
        wrong = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0, ddof=1) + self.eps)
        truth = nn.BatchNorm1d(3, eps=self.eps).double()(torch.from_numpy(x)).detach().numpy()
        self.assert_slip(wrong, self.normalise(x), truth)

    def test_err_wrong_weight(self):
        _, _, _, dx, dx_tilde, _, _ = self.square()
        self.assert_slip(self.W[2].T @ dx_tilde[3], self.W[3].T @ dx_tilde[3], dx[2])
