"""The usual public check of this assignment, to measure what it misses: python tests/mutants.py --usual

What the checks that are handed out with it and those of public solutions look at together: gradients of the inputs of
each module and of the weights of the linear layer, at ten random sizes, within 1e-6 of central differences, and
PyTorch's gradcheck of batch normalisation. No biases, no whole network, no shapes, no extremes.
"""

import unittest

import numpy as np
import torch

from custom_batchnorm import CustomBatchNormAutograd, CustomBatchNormManualFunction, CustomBatchNormManualModule
from gradient_check import eval_numerical_gradient, eval_numerical_gradient_array, rel_error
from mlp_numpy import MLP
from modules import CrossEntropyModule, ELUModule, LeakyReLUModule, LinearModule, ReLUModule, SoftMaxModule

TOLERANCE = 1e-6


class UsualCheck(unittest.TestCase):
    def setUp(self):
        np.random.seed(42)
        torch.manual_seed(42)
        self.sizes = np.random.randint(2, 9, (10, 3)).tolist()  # batch, inputs, outputs

    def test_linear(self):
        for B, n_in, n_out in self.sizes:
            x, dout = np.random.randn(B, n_in), np.random.randn(B, n_out)
            layer = LinearModule(n_in, n_out)
            layer.forward(x)
            dx = layer.backward(dout)
            self.assertLess(rel_error(dx, eval_numerical_gradient_array(layer.forward, x, dout)), TOLERANCE)
            weight = layer.params['weight']
            numerical = eval_numerical_gradient_array(lambda w, f=layer.forward, x=x: f(x), weight, dout)
            self.assertLess(rel_error(layer.grads['weight'], numerical), TOLERANCE)

    def test_activations(self):
        for B, n, _ in self.sizes:
            x, dout = np.random.randn(B, n), np.random.randn(B, n)
            for module in (ReLUModule(), LeakyReLUModule(0.01), ELUModule(), SoftMaxModule()):
                module.forward(x)
                dx = module.backward(dout)
                self.assertLess(rel_error(dx, eval_numerical_gradient_array(module.forward, x, dout)), TOLERANCE)

    def test_cross_entropy(self):
        module = CrossEntropyModule()
        for B, n, _ in self.sizes:
            x, y = np.random.dirichlet(np.full(n, 5.0), B), np.eye(n)[np.random.randint(0, n, B)]
            numerical = eval_numerical_gradient(lambda p, y=y: module.forward(p, y), x, verbose=False)
            self.assertLess(rel_error(module.backward(x, y), numerical), TOLERANCE)

    def test_mlp_runs(self):
        mlp = MLP(12, [5], 4)
        out = mlp.forward(np.random.randn(5, 12))
        mlp.backward(np.random.randn(*out.shape))

    def test_batch_norm(self):
        x, gamma, beta = (
            torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((8, 4), (4,), (4,))
        )
        self.assertTrue(torch.autograd.gradcheck(CustomBatchNormManualFunction.apply, (x, gamma, beta)))
        for module in (CustomBatchNormAutograd(4), CustomBatchNormManualModule(4)):
            out = module(x.detach().float())
            self.assertLess(out.mean(0).abs().max(), 1e-6)
            self.assertLess((out.var(0, correction=0) - 1).abs().max(), 1e-4)


if __name__ == '__main__':
    unittest.main()
