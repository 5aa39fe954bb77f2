"""Question 4: the convolution, and the sizes of its layers."""

from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gradient_check import eval_numerical_gradient_array

from .case import ReportTestCase, SmallImageConv2d


class TestReportConvNet(ReportTestCase):
    """Question 4: the convolution, forward and backward, and the sizes of the layers."""

    shapes = ((1, 3, 2, 6), (2, 4, 3, 7), (3, 2, 4, 2))  # (B, in, out, height = width)

    def setUp(self):
        super().setUp()
        B, n_in, n_out, height, width = self.shape = 3, 2, 4, 2, 3  # so small that it is computed as a matrix product
        self.conv = SmallImageConv2d(n_in, n_out, 3, padding=1).double()
        self.W, self.b = (p.detach().numpy() for p in self.conv.parameters())
        self.x = self.rng.normal(size=(B, n_in, height, width))
        self.dy = self.rng.normal(size=(B, n_out, height, width))
        self.P = np.zeros((B, height, width, n_in, 3, 3))  # i and j count from -1
        for n, u, v, c, i, j in np.ndindex(self.P.shape):
            if 0 <= u + i - 1 < height and 0 <= v + j - 1 < width:
                self.P[n, u, v, c, i, j] = self.x[n, c, u + i - 1, v + j - 1]
        self.P = self.P.reshape(B * height * width, 9 * n_in)

    @staticmethod
    def rows(y):
        """(B H W, out) of (B, out, H, W)."""
        return y.transpose(0, 2, 3, 1).reshape(-1, y.shape[1])

    @staticmethod
    def convolved(x, W, b):
        return F.conv2d(*map(torch.from_numpy, (x, W, b)), padding=1).numpy()

    def test_eq_conv(self):
        """Equation 4.1."""
        for B, n_in, n_out, height in self.shapes:
            width = height + 1
            conv = SmallImageConv2d(n_in, n_out, 3, padding=1).double()
            W, bias = (p.detach().numpy() for p in conv.parameters())
            x = self.rng.normal(size=(B, n_in, height, width))
            padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))  # x[u] is padded[u + 1]
            y = np.zeros((B, n_out, height, width))
            for o, u, v in np.ndindex(n_out, height, width):
                y[:, o, u, v] = bias[o] + sum(
                    W[o, c, 1 + i, 1 + j] * padded[:, c, u + i + 1, v + j + 1]
                    for c, i, j in product(range(n_in), (-1, 0, 1), (-1, 0, 1))
                )
            self.assert_equal_formulas(y, conv(torch.from_numpy(x)).detach().numpy())

    def test_eq_conv_size(self):
        """Equation 4.2."""
        for module, k, p, s in (
            (nn.Conv2d(1, 1, 3, 1, 1), 3, 1, 1),
            (nn.MaxPool2d(3, 2, 1), 3, 1, 2),
            (nn.Conv2d(1, 1, 5, 2, 2), 5, 2, 2),
            (nn.MaxPool2d(2, 2), 2, 0, 2),
        ):
            for height in range(max(1, k - 2 * p), 40):
                expected = (height + 2 * p - k) // s + 1
                self.assertEqual(module(torch.zeros(1, 1, height, height)).shape[2:], (expected, expected))

    def test_eq_conv_cost(self):
        """Equation 4.3."""
        for B, C, C_out, H in self.shapes:
            conv = SmallImageConv2d(C, C_out, 3, padding=1)
            self.assertEqual((9 * C + 1) * C_out, sum(p.numel() for p in conv.parameters()))
            with FlopCounterMode(display=False) as counter:
                conv(torch.zeros(B, C, H, H))
            self.assertEqual(B * 2 * 9 * C * C_out * H**2, counter.get_total_flops())

    def test_eq_patches(self):
        """Equation 4.4. Of a filter with a single 1, so that each position gives one of the numbers that it reads."""
        n_in = self.x.shape[1]
        for k, (c, i, j) in enumerate(np.ndindex(n_in, 3, 3)):
            W = np.zeros((1, n_in, 3, 3))
            W[0, c, i, j] = 1
            self.assert_equal_formulas(self.P[:, [k]], self.rows(self.convolved(self.x, W, np.zeros(1))))

    def test_eq_conv_matrix(self):
        """Equation 4.5."""
        W, dY = self.W.reshape(len(self.W), -1), self.rows(self.dy)
        ones = np.ones(len(self.P))
        Y = self.P @ W.T + np.outer(ones, self.b)
        self.assert_equal_formulas(Y, self.rows(self.conv(torch.from_numpy(self.x)).detach().numpy()))
        dW = eval_numerical_gradient_array(lambda W: self.convolved(self.x, W, self.b), self.W, self.dy)
        self.assert_numerical((dY.T @ self.P).reshape(self.W.shape), dW)
        db = eval_numerical_gradient_array(lambda b: self.convolved(self.x, self.W, b), self.b, self.dy)
        self.assert_numerical(dY.T @ ones, db)

    def test_eq_conv_input(self):
        """Equation 4.6."""
        B, n_in, n_out, height, width = self.shape
        dP = (self.rows(self.dy) @ self.W.reshape(n_out, -1)).reshape(B, height, width, n_in, 3, 3)
        dx = np.zeros_like(self.x)
        for n, c, u, v in np.ndindex(self.x.shape):
            dx[n, c, u, v] = sum(
                dP[n, u - i, v - j, c, 1 + i, 1 + j]
                for i, j in product((-1, 0, 1), (-1, 0, 1))
                if 0 <= u - i < height and 0 <= v - j < width
            )
        self.assert_numerical(
            dx, eval_numerical_gradient_array(lambda x: self.convolved(x, self.W, self.b), self.x, self.dy)
        )


class TestConvolution(ReportTestCase):
    """The class that computes small images by equation 4.5, every gradient."""

    shapes = ((1, 3, 2, 1), (3, 2, 4, 2), (2, 4, 3, 5))  # (B, in, out, height = width); of 2 a matrix product

    def test_gradients_against_central_differences(self):
        for B, n_in, n_out, height in self.shapes:
            conv = SmallImageConv2d(n_in, n_out, 3, padding=1).double()
            x = torch.tensor(self.rng.normal(size=(B, n_in, height, height)), requires_grad=True)
            dout = self.rng.normal(size=(B, n_out, height, height))
            conv(x).backward(torch.from_numpy(dout))

            def forward(conv=conv, x=x):
                return conv(x).detach().numpy()

            inputs = {'x': x, **dict(conv.named_parameters())}
            variables = {name: variable.detach().numpy() for name, variable in inputs.items()}  # they share memory
            gradients = [variable.grad.numpy() for variable in inputs.values()]
            self.assert_gradients(f'{type(conv).__name__} of {tuple(x.shape)}', gradients, forward, variables, dout)
