"""Question 2: local weights, thresholds, and whitened pixels."""

from itertools import product

import numpy as np
import torch
from torch import nn

from .case import ReportTestCase, Whitening, hard_threshold_, local_, soft_threshold_


class TestReportBestMLP(ReportTestCase):
    """Question 2: what tells an MLP which pixels are neighbours."""

    def test_eq_local(self):
        """Equation 2.1. The weights of `local_`, from the numbers that it draws.

        Squared distances are sums of float32 terms up to 32² each, whose roundings (6e-8) add up to 2e-4 at most; the
        smallest 2r², 4.5, divides that.
        """
        layers = [nn.Linear(3 * 32 * 32, 5), nn.Linear(5, 4), nn.Linear(4, 3)]
        torch.manual_seed(0)
        local_(layers)
        torch.manual_seed(0)
        axis = torch.arange(32) + 0.5
        pixels = torch.stack([axis.repeat_interleave(32), axis.repeat(32)], 1)  # row and column of each
        place_below = pixels.repeat(3, 1)  # colour by colour
        for layer in layers[:2]:
            n = torch.randn(layer.out_features, layer.in_features)
            if layer is layers[0]:
                kernel = torch.exp(-(torch.arange(-31.0, 32) ** 2) / 2)
                n = nn.functional.conv2d(n.view(-1, 1, 32, 32), torch.outer(kernel, kernel)[None, None], padding=31)
                n = n.view(layer.out_features, -1)
            r = torch.exp(torch.empty(layer.out_features).uniform_(np.log(1.5), np.log(6)))
            place = 32 * torch.rand(layer.out_features, 2)
            distance = (place[:, None] - place_below).norm(dim=2)
            W = n * torch.exp(-(distance**2) / (2 * r[:, None] ** 2))
            W *= (2 / (W**2).sum(1, keepdim=True)) ** 0.5
            torch.testing.assert_close(layer.weight.data, W, rtol=1e-4, atol=1e-6)
            place_below = place

    def test_eq_local_size(self):
        """Equation 2.2. The mean over all signs of noise and inputs, exactly.

        Inputs are of any sizes whose squares average to 1.
        """
        W = self.rng.normal(size=4)
        W *= (2 / (W**2).sum()) ** 0.5
        signs = np.array(list(product([-1, 1], repeat=4)))
        sizes = self.rng.normal(size=(50, 4))
        sizes /= np.sqrt((sizes**2).mean(axis=0))
        z = signs[:, None, None] * sizes[:, None]  # (16, 50, 1, 4)
        outputs = (signs * W * np.maximum(0, z)).sum(axis=-1)  # (16, 50, 16)
        self.assert_equal_formulas((outputs**2).mean(), (W**2).sum() / 2)
        self.assert_equal_formulas((outputs**2).mean(), 1)

    def test_eq_soft_threshold(self):
        """Equation 2.3. No V near the minimum or far from it does better, weight by weight."""
        W, threshold = self.rng.normal(size=(3, 4)), 0.4
        V = np.sign(W) * np.maximum(abs(W) - threshold, 0)

        def objective(V):
            return (V - W) ** 2 / 2 + threshold * abs(V)

        for scale in (1e-4, 1e-2, 1):
            for _ in range(100):
                self.assertTrue((objective(V) <= objective(V + scale * self.rng.normal(size=V.shape))).all())
        self.assertTrue((V == 0).any() and (V != 0).any())
        weight = torch.from_numpy(W.copy())
        soft_threshold_([weight], threshold)
        self.assert_equal_formulas(weight.numpy(), V)

    def test_eq_hard_threshold(self):
        """Equation 2.4. No V near the minimum or far from it does better, weight by weight; nor does 0, or W itself."""
        W, tau = np.linspace(-1, 1, 400), 0.4  # both sides of ±tau closely, so that a wrong price would show
        V = W * (abs(W) > tau)

        def objective(V):
            return (V - W) ** 2 / 2 + tau**2 / 2 * (V != 0)

        others = [V + scale * self.rng.normal(size=V.shape) for scale in (1e-4, 1e-2, 1) for _ in range(100)]
        for other in [*others, 0 * W, W]:
            self.assertTrue((objective(V) <= objective(other)).all())
        weight = torch.from_numpy(W.copy())
        hard_threshold_([weight], tau)
        self.assert_equal_formulas(weight.numpy(), V)

    def test_eq_adam_step(self):
        """Equation 2.5. Steps from 0: without a threshold, longer than it, and shorter; the last lead nowhere."""
        gradient = torch.from_numpy(self.rng.normal(size=(3, 4)))
        for eta, tau, stays in [(1e-3, 0, False), (1.1e-3, 1e-3, False), (0.9e-3, 1e-3, True)]:
            weight = torch.zeros(3, 4, dtype=torch.float64)
            optimizer = torch.optim.Adam([weight], eta, eps=0)
            for step in range(1, 4):
                weight.grad = gradient.clone()
                optimizer.step()
                hard_threshold_([weight], tau)
                self.assert_equal_formulas(weight.numpy(), 0 if stays else -step * eta * np.sign(gradient.numpy()))

    def test_eq_zca(self):
        """Equation 2.6."""
        x = self.rng.normal(size=(40, 5)) @ self.rng.normal(size=(5, 5))
        C, eps = x.T @ x / len(x), 0.3
        eigenvalues, V = np.linalg.eigh(C)
        s = (eigenvalues / (eigenvalues + eps)).mean() ** -0.5
        Z = s * V @ np.diag((eigenvalues + eps) ** -0.5) @ V.T
        self.assert_equal_formulas(Z @ Z @ (C + eps * np.eye(5)), s**2 * np.eye(5))
        self.assert_equal_formulas(Z @ C @ Z.T, s**2 * C @ np.linalg.inv(C + eps * np.eye(5)))
        layer = Whitening(5).double()
        layer.fit([torch.from_numpy(x[:15]), torch.from_numpy(x[15:])], eps)
        self.assert_equal_formulas(layer.Z.numpy(), Z)
        outputs = layer(torch.from_numpy(x)).numpy()
        self.assert_equal_formulas(outputs, (Z @ x.T).T)
        self.assert_equal_formulas((outputs**2).mean(), 1)

    def test_eq_zca_change(self):
        """Equation 2.7. Q Z whitens as well for every orthogonal Q, and changes x more."""
        x = self.rng.normal(size=(40, 5)) @ self.rng.normal(size=(5, 5))
        C = x.T @ x / len(x)
        eigenvalues, V = np.linalg.eigh(C)
        Z = V @ np.diag(eigenvalues**-0.5) @ V.T

        def change(W):
            return ((x @ W.T - x) ** 2).sum(axis=1).mean()

        for scale in (1e-3, 1e-1, 10):
            for _ in range(100):
                Q, R = np.linalg.qr(np.eye(5) + scale * self.rng.normal(size=(5, 5)))
                W = Q * np.sign(np.diag(R)) @ Z
                self.assert_equal_formulas(W @ C @ W.T, np.eye(5))
                self.assertGreater(change(W), change(Z))
