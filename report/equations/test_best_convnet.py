"""Question 4, beyond the assignment: Muon, mixed images, the speedrun."""

import numpy as np
import torch
from torch import nn
from torchvision.transforms import v2

from gradient_check import eval_numerical_gradient, eval_numerical_gradient_array

from .case import Muon, ReportTestCase


class TestReportBestConvNet(ReportTestCase):
    """Question 4, as far as it goes: why filters may be kept at one size, Muon's steps, and mixed images."""

    coefficients = 3.4445, -4.7750, 2.0315

    def test_eq_scale_invariance(self):
        """Equation 4.7."""
        self.eps = 0
        x, W = self.rng.normal(size=(20, 7)), self.rng.normal(size=(7, 4))  # patches, and a column for each filter
        dy = self.rng.normal(size=(20, 4))

        def gradient(W):
            return eval_numerical_gradient_array(lambda W: self.normalise(x @ W), W, dy)

        self.assert_numerical(0, (W * gradient(W)).sum(axis=0))
        self.assert_numerical(gradient(W) / 2.5, gradient(2.5 * W))

    def test_eq_muon(self):
        """Equation 4.8. As Muon itself moves."""
        a, b, c = self.coefficients
        rho, eta, (m, n) = 0.6, 0.1, (4, 9)
        W = self.rng.normal(size=(m, n))
        weight = nn.Parameter(torch.tensor(W).reshape(m, 1, 3, 3))
        muon = Muon([weight], lr=eta, momentum=rho, nesterov=True)
        M = 0
        for _ in range(3):
            G = self.rng.normal(size=(m, n))
            M = rho * M + G
            X = (G + rho * M) / np.linalg.norm(G + rho * M)
            for _ in range(3):
                X = a * X + b * (X @ X.T) @ X + c * (X @ X.T) @ (X @ X.T) @ X
            W = m**0.5 * W / np.linalg.norm(W) - eta * X
            weight.grad = torch.tensor(G).reshape(m, 1, 3, 3)
            muon.step()
            self.assert_equal_formulas(W, weight.detach().numpy().reshape(m, n))

    def test_eq_newton_schulz(self):
        """Equation 4.9."""
        a, b, c = self.coefficients
        for m, n in ((3, 3), (4, 9)):
            U, sigma, Vt = np.linalg.svd(self.rng.normal(size=(m, n)), full_matrices=False)
            sigma = sigma / np.linalg.norm(sigma)
            X = U @ np.diag(sigma) @ Vt
            for _ in range(3):
                X = a * X + b * (X @ X.T) @ X + c * (X @ X.T) @ (X @ X.T) @ X
                sigma = a * sigma + b * sigma**3 + c * sigma**5
                self.assert_equal_formulas(X, U @ np.diag(sigma) @ Vt)

    def test_eq_newton_schulz_gram(self):
        """Equation 4.10."""
        a, b, c = self.coefficients
        X0 = self.rng.normal(size=(4, 9))
        X0 = X = X0 / np.linalg.norm(X0)
        A, Q = X @ X.T, np.eye(4)
        for _ in range(3):
            P = a * np.eye(4) + b * A + c * A @ A
            A, Q = P @ A @ P, P @ Q
            X = a * X + b * (X @ X.T) @ X + c * (X @ X.T) @ (X @ X.T) @ X
            self.assert_equal_formulas(Q @ X0, X)
            self.assert_equal_formulas(A, X @ X.T)

    def test_eq_mixing(self):
        """Equation 4.11. As torchvision mixes; PyTorch's cross entropy and the chain's gradient take the result."""
        x = self.rng.normal(size=(4, 3, 8, 8))
        t = np.eye(5)[[3, 0, 4, 1]]
        torch.manual_seed(0)
        mixed, targets = v2.CutMix(num_classes=5)(torch.tensor(x), torch.tensor(t.argmax(axis=1)))
        x1, x2, t1, t2 = x, np.roll(x, 1, axis=0), t, np.roll(t, 1, axis=0)
        M = (mixed.numpy() != x1)[0, 0]
        M_mean = M.mean()
        self.assertTrue(0 < M_mean < 1)
        self.assert_equal_formulas((1 - M) * x1 + M * x2, mixed.numpy())
        t = (1 - M_mean) * t1 + M_mean * t2
        np.testing.assert_allclose(targets, t, rtol=0, atol=1e-7)  # torchvision's are float32
        logits = self.rng.normal(size=(4, 5))

        def L(t, logits=logits):
            return nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(t)).item()

        self.assert_equal_formulas(L(t), (1 - M_mean) * L(t1) + M_mean * L(t2))
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        self.assert_numerical(
            (probabilities - t) / len(t), eval_numerical_gradient(lambda x: L(t, x), logits, verbose=False)
        )


class TestReportSpeedrun(ReportTestCase):
    """Question 4: the speedrun's whitening layer."""

    def test_eq_whitening(self):
        """Equation 4.12."""
        patches = self.rng.normal(size=(500, 12)) * np.linspace(1, 3, 12) + self.rng.normal(size=(500, 1))
        covariance = patches.T @ patches / len(patches)
        eigenvalues, V = np.linalg.eigh(covariance)
        F = np.diag(eigenvalues**-0.5) @ V.T
        outputs = patches @ F.T
        self.assert_equal_formulas(outputs.T @ outputs / len(outputs), np.eye(12))
