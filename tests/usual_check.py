"""The usual public check of this assignment, to measure what it misses: python tests/mutants.py --usual

Gradients of the inputs of each module and of the weights of the linear layer, at one batch size, within 1e-6 of central
differences. No biases, no γ and β, no whole network, no shapes, no extremes.
"""

import unittest

import numpy as np
import torch

from custom_batchnorm import CustomBatchNormManualFunction
from gradient_check import eval_numerical_gradient, eval_numerical_gradient_array, rel_error
from mlp_numpy import MLP
from modules import CrossEntropyModule, ELUModule, LeakyReLUModule, LinearModule, ReLUModule, SoftMaxModule

TOLERANCE = 1e-6


class UsualCheck(unittest.TestCase):
    def setUp(self):
        np.random.seed(42)

    def test_linear(self):
        x, dout = np.random.randn(5, 4), np.random.randn(5, 3)
        layer = LinearModule(4, 3)
        layer.forward(x)
        dx = layer.backward(dout)
        self.assertLess(rel_error(dx, eval_numerical_gradient_array(layer.forward, x, dout)), TOLERANCE)
        weight = layer.params['weight']
        numerical = eval_numerical_gradient_array(lambda w: layer.forward(x), weight, dout)
        self.assertLess(rel_error(layer.grads['weight'], numerical), TOLERANCE)

    def test_activations(self):
        x, dout = np.random.randn(5, 4), np.random.randn(5, 4)
        for module in (ReLUModule(), LeakyReLUModule(0.01), ELUModule(), SoftMaxModule()):
            module.forward(x)
            dx = module.backward(dout)
            self.assertLess(rel_error(dx, eval_numerical_gradient_array(module.forward, x, dout)), TOLERANCE)

    def test_cross_entropy(self):
        module = CrossEntropyModule()
        x, y = np.random.dirichlet(np.ones(4), 5), np.eye(4)[np.random.randint(0, 4, 5)]
        numerical = eval_numerical_gradient(lambda p: module.forward(p, y), x, verbose=False)
        self.assertLess(rel_error(module.backward(x, y), numerical), TOLERANCE)

    def test_mlp_runs(self):
        mlp = MLP(12, [5], 4)
        out = mlp.forward(np.random.randn(5, 12))
        mlp.backward(np.random.randn(*out.shape))

    def test_batch_norm(self):
        x = torch.randn(8, 4, dtype=torch.float64, requires_grad=True)
        gamma, beta = torch.ones(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
        self.assertTrue(
            torch.autograd.gradcheck(lambda x: CustomBatchNormManualFunction.apply(x, gamma, beta, 1e-5), (x,))
        )


if __name__ == '__main__':
    unittest.main()
