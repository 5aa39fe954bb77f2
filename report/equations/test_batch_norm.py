"""Question 3: batch normalisation of one neuron."""

import numpy as np
import torch
from torch import nn

from custom_batchnorm import CustomBatchNormAutograd, CustomBatchNormManualModule
from gradient_check import eval_numerical_gradient_array

from .case import EXACT, ReportTestCase


class TestReportBatchNorm(ReportTestCase):
    """Question 3: one neuron, x_1 ... x_B."""

    def setUp(self):
        super().setUp()
        self.x = 2 * self.rng.normal(size=self.B) + 1
        self.gamma, self.beta = self.rng.normal(size=1), self.rng.normal(size=1)
        self.dy = self.rng.normal(size=self.B)
        self.mu, self.var = self.x.mean(keepdims=True), self.x.var(keepdims=True)
        self.r = 1 / np.sqrt(self.var + self.eps)
        self.x_hat = (self.x - self.mu) * self.r
        self.dbeta, self.dgamma = self.dy.sum(), self.dy @ self.x_hat
        self.dx = eval_numerical_gradient_array(lambda x: self.normalise(x, self.gamma, self.beta), self.x, self.dy)

    def test_eq_bn_statistics(self):
        """Equation 3.1."""
        x, B = self.x, self.B
        mu = sum(x) / B
        var = sum((x[b] - mu) ** 2 for b in range(B)) / B
        self.assert_equal_formulas([mu, var], [np.mean(x), np.var(x)])

    def test_eq_bn_forward(self):
        """Equation 3.2. Against PyTorch's own, and both of ours."""
        r = (self.var + self.eps) ** -0.5
        y = self.gamma * (self.x - self.mu) * r + self.beta
        for version in (nn.BatchNorm1d, CustomBatchNormAutograd, CustomBatchNormManualModule):
            module = version(1, eps=self.eps).double()
            scale, shift = module.parameters()
            with torch.no_grad():
                scale.copy_(torch.from_numpy(self.gamma))
                shift.copy_(torch.from_numpy(self.beta))
            self.assert_equal_formulas(y, module(torch.from_numpy(self.x)[:, None]).detach().numpy()[:, 0])

    def test_eq_bn_parameters(self):
        """Equation 3.3."""

        def forward(_):
            return self.normalise(self.x, self.gamma, self.beta)

        dgamma = sum(self.dy[b] * self.x_hat[b] for b in range(self.B))
        dbeta = sum(self.dy[b] for b in range(self.B))
        self.assert_numerical([dgamma], eval_numerical_gradient_array(forward, self.gamma, self.dy))
        self.assert_numerical([dbeta], eval_numerical_gradient_array(forward, self.beta, self.dy))

    def test_eq_bn_normalised(self):
        """Equation 3.4."""
        numerical = eval_numerical_gradient_array(lambda x_hat: self.gamma * x_hat + self.beta, self.x_hat, self.dy)
        self.assert_numerical(self.gamma * self.dy, numerical)

    def test_eq_bn_variance(self):
        """Equation 3.5. With σ² as a variable of its own, beside x and μ."""
        x_c = self.x - self.mu
        dvar = -0.5 * self.r**3 * sum(self.gamma * self.dy * x_c)
        numerical = eval_numerical_gradient_array(
            lambda var: self.gamma * x_c / np.sqrt(var + self.eps) + self.beta, self.var, self.dy
        )
        self.assert_numerical(dvar, numerical)
        self.assert_numerical(-0.5 * self.gamma * self.r**2 * self.dgamma, numerical)

    def test_eq_bn_mean(self):
        """Equation 3.6. With μ as a variable, on which σ² depends; beside the mean, too, where that does not vanish."""

        def forward(mu):
            var = np.mean((self.x - mu) ** 2)
            return self.gamma * (self.x - mu) / np.sqrt(var + self.eps) + self.beta

        for mu in (self.mu + 1, self.mu):
            x_c = self.x - mu
            r = 1 / np.sqrt(np.mean(x_c**2) + self.eps)
            dvar_dmu = -2 / self.B * sum(x_c)
            dvar = sum(self.gamma * self.dy * x_c * -(r**3) / 2)
            numerical = eval_numerical_gradient_array(forward, mu, self.dy)
            self.assert_numerical(sum(self.gamma * self.dy * -r) + dvar * dvar_dmu, numerical)
        self.assertLess(abs(dvar_dmu), EXACT)
        self.assert_numerical(-self.gamma * self.r * self.dbeta, numerical)

    def test_eq_bn_paths(self):
        """Equation 3.7."""
        B, dmu, dvar = self.B, -self.gamma * self.r * self.dbeta, -0.5 * self.gamma * self.r**2 * self.dgamma
        self.assert_numerical(np.full(B, 1 / B), self.jacobian(np.mean, self.x))
        self.assert_numerical(2 * (self.x - self.mu) / B, self.jacobian(np.var, self.x))
        dx = self.gamma * self.dy * self.r + dmu / B + dvar * 2 * (self.x - self.mu) / B
        self.assert_numerical(dx, self.dx)

    def test_eq_bn_closed(self):
        """Equation 3.8."""
        dx = self.gamma * self.r * (self.dy - self.dbeta / self.B - self.x_hat * self.dgamma / self.B)
        self.assert_numerical(dx, self.dx)

    def test_eq_bn_jacobian(self):
        """Equation 3.9."""
        r, x_hat, B, delta = self.r[0], self.x_hat, self.B, np.eye(self.B)
        index = [[r * (delta[a, b] - 1 / B - x_hat[a] * x_hat[b] / B) for b in range(B)] for a in range(B)]
        matrix = r * (np.eye(B) - np.ones((B, B)) / B - np.outer(x_hat, x_hat) / B)
        for derivative in (index, matrix):
            self.assert_numerical(derivative, self.jacobian(self.normalise, self.x))

    def test_eq_bn_invariance(self):
        """Equation 3.10. Beside ε = 0.1, so that its share shows."""
        self.eps = 0.1
        r = 1 / np.sqrt(self.var + self.eps)
        x_hat = (self.x - self.mu) * r
        dx = eval_numerical_gradient_array(lambda x: self.normalise(x, self.gamma, self.beta), self.x, self.dy)
        self.assert_numerical(0, sum(dx))
        self.assert_numerical(self.gamma * r * self.eps / (self.var + self.eps) * (self.dy @ x_hat), sum(x_hat * dx))

    def test_closed_form_for_several_neurons(self):
        """Equations 3.3 and 3.8 column by column, for columns of different mean and scale."""
        for n, c in ((2, 1), (5, 3), (32, 10)):
            x = self.rng.normal(size=(n, c)) * self.rng.uniform(0.5, 3, c) + self.rng.normal(size=c)
            gamma, beta, dy = self.rng.normal(size=c), self.rng.normal(size=c), self.rng.normal(size=(n, c))
            r = 1 / np.sqrt(x.var(axis=0) + self.eps)
            x_hat = (x - x.mean(axis=0)) * r
            dbeta = dy.sum(axis=0)
            dgamma = (dy * x_hat).sum(axis=0)
            dx = gamma * r * (dy - dbeta / n - x_hat * dgamma / n)
            variables = {'x': x, 'gamma': gamma, 'beta': beta}
            self.assert_gradients(
                'closed form', [dx, dgamma, dbeta], lambda v=variables: self.normalise(**v), variables, dy
            )
