"""Every gradient against central differences in float64, and the NumPy MLP against its PyTorch twin.

What else the modules promise is here too: initial parameters, dtypes, memory, and what they refuse in which words.

    python unittests.py                  # all; exits 1 if a check fails
    python unittests.py TestLinear -v    # one class, a line per test
    pytest unittests.py

A central difference with h = 1e-5 errs by h²/6 f''' + ε|f|/h, about 2e-11 each where f and its derivatives are of order
one, as they are made to be below. Sums over a batch and third derivatives above one cost a factor of ten to a hundred.
A wrong formula errs in the first digits.
"""

import contextlib
import io
import re
import unittest
import warnings
from itertools import pairwise, product
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms import v2

import mlp_pytorch
from convnet_pytorch import Conv3x3
from custom_batchnorm import CustomBatchNormAutograd, CustomBatchNormManualFunction, CustomBatchNormManualModule
from gradient_check import eval_numerical_gradient, eval_numerical_gradient_array, rel_error
from mlp_numpy import MLP
from modules import CrossEntropyModule, ELUModule, LeakyReLUModule, LinearModule, ReLUModule, SoftMaxModule
from torch_utils import Muon

NUMERICAL_RTOL, NUMERICAL_ATOL = 1e-7, 1e-9  # against central differences, see above
EXACT = 1e-12  # two ways to compute one float64 formula: some hundred roundings of ε = 2e-16
TWINS = 100 * EXACT  # the same after 100 steps, each of which adds its own


class GradientTestCase(unittest.TestCase):
    """Random numbers that are the same in every run, and the comparisons."""

    def setUp(self):
        self.rng = np.random.default_rng(0)
        torch.manual_seed(0)

    def one_hot(self, B, C):
        return np.eye(C)[self.rng.integers(0, C, B)]

    def distributions(self, B, C):
        """Probabilities of at least 1/2C: nearer to 0, the third derivative of the logarithm, 2/x³, is large."""
        return 0.5 / C + 0.5 * self.rng.dirichlet(np.ones(C), B)

    def assert_numerical(self, gradient, numerical):
        """`gradient` agrees with a central difference."""
        np.testing.assert_allclose(gradient, numerical, NUMERICAL_RTOL, NUMERICAL_ATOL)

    def assert_equal_formulas(self, actual, expected):
        np.testing.assert_allclose(actual, expected, EXACT, EXACT)

    def assert_module(self, module, x):
        """Every gradient that module.backward gives for a random dout agrees with central differences of forward."""
        dout = self.rng.normal(size=module.forward(x).shape)
        dx = module.backward(dout)
        with self.subTest(gradient='x', shape=x.shape):
            self.assert_numerical(dx, eval_numerical_gradient_array(module.forward, x, dout))
        for name, param in getattr(module, 'params', {}).items():
            # The check changes param itself, so that forward sees the change.
            numerical = eval_numerical_gradient_array(lambda _: module.forward(x), param, dout)
            with self.subTest(gradient=name, shape=param.shape):
                self.assert_numerical(module.grads[name], numerical)


class TestGradientCheck(GradientTestCase):
    """The judge is judged first, on functions whose derivatives everyone knows."""

    def test_gradient_of_known_functions(self):
        A, x = self.rng.normal(size=(2, 3)), self.rng.normal(size=(3, 4))
        for name, f, gradient in (
            ('sum', np.sum, np.ones_like(x)),
            ('sin', lambda x: np.sum(np.sin(x)), np.cos(x)),
            ('least squares', lambda x: np.sum((A @ x) ** 2), 2 * A.T @ A @ x),
        ):
            with self.subTest(function=name):
                self.assert_numerical(eval_numerical_gradient(f, x, verbose=False), gradient)

    def test_gradient_of_an_array_is_weighted_by_df(self):
        A, x, df = self.rng.normal(size=(3, 4)), self.rng.normal(size=(4, 2)), self.rng.normal(size=(3, 2))
        self.assert_numerical(eval_numerical_gradient_array(lambda x: A @ x, x, df), A.T @ df)
        self.assert_numerical(eval_numerical_gradient_array(np.tanh, x, x), x / np.cosh(x) ** 2)

    def test_function_that_returns_its_argument(self):
        """Both values would be one array, and their difference 0, if the first were not copied."""
        x, df = self.rng.normal(size=(2, 3)), self.rng.normal(size=(2, 3))
        self.assert_numerical(eval_numerical_gradient_array(lambda x: x, x, df), df)
        x = np.array(2.0)
        self.assert_numerical(eval_numerical_gradient(lambda x: x, x, verbose=False), np.array(1.0))

    def test_large_constant_outputs_cost_no_accuracy(self):
        """Summed before the difference is taken, 1e8 would leave an error of ε 1e8 / h = 1e-3."""
        x = self.rng.normal(size=3)
        numerical = eval_numerical_gradient_array(lambda x: np.append(np.sin(x), 1e8), x, np.ones(4))
        self.assert_numerical(numerical, np.cos(x))

    def test_error_falls_as_the_square_of_h(self):
        """((x+h)³ − (x−h)³) / 2h = 3x² + h², exactly."""
        x = np.array([2.0])
        for h in (1.0, 0.5):
            self.assert_equal_formulas(eval_numerical_gradient(lambda x: x[0] ** 3, x, False, h), [12 + h**2])
            self.assert_equal_formulas(eval_numerical_gradient_array(lambda x: x**3, x, np.ones(1), h), [12 + h**2])

    def test_x_is_restored_bit_for_bit(self):
        x = self.rng.normal(size=(3, 4))
        before = x.copy()
        eval_numerical_gradient(np.sum, x, verbose=False)
        eval_numerical_gradient_array(np.sin, x, np.ones_like(x))
        np.testing.assert_array_equal(x, before, strict=True)

    def test_x_is_restored_when_f_raises(self):
        x = self.rng.normal(size=3)
        before = x.copy()
        for check in (
            lambda f: eval_numerical_gradient(lambda x: np.sum(f(x)), x, verbose=False),
            lambda f: eval_numerical_gradient_array(f, x, np.ones(3)),
        ):
            for calls in range(6):
                left = iter(range(calls))

                def f(x, left=left):
                    if next(left, None) is None:
                        raise RuntimeError('on purpose')
                    return x**2

                with self.subTest(calls=calls), self.assertRaisesRegex(RuntimeError, 'on purpose'):
                    check(f)
                np.testing.assert_array_equal(x, before)

    def test_anything_but_a_float64_array_is_refused(self):
        for x, got in ((np.ones(2, np.float32), 'float32'), (np.ones(2, np.int64), 'int64'), ([1.0, 2.0], 'list')):
            with self.subTest(got=got):
                with self.assertRaisesRegex(ValueError, f'float64 array, got {got}'):
                    eval_numerical_gradient(np.sum, x)
                with self.assertRaisesRegex(ValueError, f'float64 array, got {got}'):
                    eval_numerical_gradient_array(np.sin, x, np.ones(2))

    def test_df_of_another_shape_is_refused(self):
        with self.assertRaisesRegex(ValueError, r'\(2, 3\), got \(3,\)'):
            eval_numerical_gradient_array(np.sin, np.ones((2, 3)), np.ones(3))

    def test_verbose_prints_each_index_with_its_derivative(self):
        """Which it is unless told otherwise."""
        for verbose in ([], [True], [False]):
            with contextlib.redirect_stdout(io.StringIO()) as out:
                gradient = eval_numerical_gradient(np.sum, np.ones((2, 3)), *verbose)
            lines = [] if verbose == [False] else [f'{index} {d}' for index, d in np.ndenumerate(gradient)]
            self.assertEqual(out.getvalue().splitlines(), lines)

    def test_rel_error(self):
        for x, y, expected in (
            ([1.0, 2.0], [1.0, 2.0], 0),
            ([1.0, 5.0], [3.0, 5.0], 1 / 2),  # the largest of the elements
            ([1e3, 1e-3], [1e3, 3e-3], 1 / 2),  # each relative to itself
            ([-1.0], [1.0], 1),
            ([0.0], [1e-10], 1e-2),  # relative to 1e-8 at least, so that a rounding error beside 0 is none
            ([], [], 0),
        ):
            with self.subTest(x=x, y=y):
                self.assertAlmostEqual(rel_error(np.array(x), np.array(y)), expected, delta=EXACT)

    def test_rel_error_of_nan_passes_no_tolerance(self):
        self.assertFalse(rel_error(np.array([1.0, np.nan]), np.array([1.0, 2.0])) < 1)

    def test_rel_error_does_not_broadcast(self):
        with self.assertRaisesRegex(ValueError, r'\(3,\) and \(3, 1\)'):
            rel_error(np.ones(3), np.ones((3, 1)))


class TestLinear(GradientTestCase):
    shapes = ((1, 1, 1), (1, 4, 3), (5, 4, 3), (6, 2, 7), (3, 5, 1), (3, 1, 5))  # (B, in, out)

    def module(self, n_in, n_out):
        """With parameters of order one: beside weights of 1e-4, a wrong term in them would not show."""
        module = LinearModule(n_in, n_out)
        module.params = {'weight': self.rng.normal(size=(n_out, n_in)), 'bias': self.rng.normal(size=n_out)}
        return module

    def test_value(self):
        module = LinearModule(3, 2)
        module.params = {'weight': np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), 'bias': np.array([10.0, 20.0])}
        out = module.forward(np.array([[1.0, 0.0, 0.0], [1.0, 1.0, -1.0]]))
        np.testing.assert_array_equal(out, [[11, 24], [10, 23]])

    def test_parameters_start_as_the_assignment_says(self):
        """Weights of N(0, 1e-4²) from NumPy's global state, everything else 0; columns in one piece, as x Wᵀ reads."""
        for dtype in (np.float32, np.float64):
            np.random.seed(0)
            module = LinearModule(4, 3, dtype)
            np.random.seed(0)
            weight = np.random.normal(0, 1e-4, (3, 4)).astype(dtype)
            with self.subTest(dtype=dtype.__name__):
                for arrays, expected in ((module.params, weight), (module.grads, np.zeros((3, 4), dtype))):
                    self.assertEqual(list(arrays), ['weight', 'bias'])
                    np.testing.assert_array_equal(arrays['weight'], expected, strict=True)
                    np.testing.assert_array_equal(arrays['bias'], np.zeros(3, dtype), strict=True)
                    self.assertTrue(arrays['weight'].flags.f_contiguous)

    def test_gradients_of_inputs_weight_and_bias(self):
        for B, n_in, n_out in self.shapes:
            self.assert_module(self.module(n_in, n_out), self.rng.normal(size=(B, n_in)))

    def test_gradients_are_those_of_the_last_backward_alone(self):
        module = self.module(4, 3)
        module.forward(self.rng.normal(size=(2, 4)))
        module.backward(self.rng.normal(size=(2, 3)))
        self.assert_module(module, self.rng.normal(size=(5, 4)))

    def test_without_input_gradient_the_parameters_get_the_same(self):
        module, dout = self.module(4, 3), self.rng.normal(size=(5, 3))
        module.forward(self.rng.normal(size=(5, 4)))
        module.backward(dout)
        expected = module.grads.copy()
        module.grads = {}
        self.assertIsNone(module.backward(dout, input_gradient=False))
        for name in ('weight', 'bias'):
            np.testing.assert_array_equal(module.grads[name], expected[name])


class TestActivations(GradientTestCase):
    def setUp(self):
        super().setUp()
        self.modules = (
            ReLUModule(),
            LeakyReLUModule(),
            LeakyReLUModule(neg_slope=0.3),
            ELUModule(),
            ELUModule(alpha=0.5),
        )

    def test_values(self):
        x = np.array([[-2.0, -0.5, 0.5, 2.0]])
        e2, e05 = np.exp(-2) - 1, np.exp(-0.5) - 1
        expected = (
            [0, 0, 0.5, 2],
            [-0.02, -0.005, 0.5, 2],
            [-0.6, -0.15, 0.5, 2],
            [e2, e05, 0.5, 2],
            [e2 / 2, e05 / 2, 0.5, 2],
        )
        for module, values in zip(self.modules, expected, strict=True):
            with self.subTest(module=module):
                self.assert_equal_formulas(module.forward(x), [values])

    def test_gradient_away_from_the_kink(self):
        """At least 0.1 from 0, where the two sides of a central difference would lie on two branches."""
        for module in self.modules:
            for shape in ((1, 1), (1, 5), (4, 3)):
                x = self.rng.uniform(0.1, 2, shape) * self.rng.choice([-1, 1], shape)
                with self.subTest(module=module):
                    self.assert_module(module, x)

    def test_at_zero_the_derivative_is_that_of_the_negative_side(self):
        for module, slope in zip(self.modules, (0, 0.01, 0.3, 1, 0.5), strict=True):
            for zero in (0.0, -0.0):
                with self.subTest(module=module, slope=slope):
                    self.assertEqual(module.forward(np.array([[zero]])), 0)
                    self.assertEqual(module.backward(np.array([[2.0]])), 2 * slope)

    def test_large_inputs(self):
        """exp(1000) overflows, and what np.where leaves out is computed nevertheless."""
        x = np.array([[-1000.0, 1000.0]])
        for module, negative, slope in zip(self.modules, (0, -10, -300, -1, -0.5), (0, 0.01, 0.3, 0, 0), strict=True):
            with self.subTest(module=module), warnings.catch_warnings():
                warnings.simplefilter('error')
                self.assert_equal_formulas(module.forward(x), [[negative, 1000]])
                np.testing.assert_array_equal(module.backward(np.ones((1, 2))), [[slope, 1]])

    def test_elu_keeps_its_digits_beside_zero(self):
        """exp(x) − 1 would lose all of them."""
        x = np.array([[-1e-12]])
        self.assertLess(rel_error(ELUModule().forward(x), x - 0.5e-24), EXACT)


class TestSoftMax(GradientTestCase):
    def test_value(self):
        p = self.distributions(4, 3)
        for shift in (0, 5, -700, self.rng.normal(size=(4, 1))):
            self.assert_equal_formulas(SoftMaxModule().forward(np.log(p) + shift), p)

    def test_gradient(self):
        for shape in ((1, 1), (4, 1), (1, 3), (5, 4), (2, 7)):
            self.assert_module(SoftMaxModule(), self.rng.normal(size=shape))

    def test_rows_are_shifted_by_their_own_maximum(self):
        """Shifted by that of the whole batch, the second row would be exp(−2000) / 0."""
        out = SoftMaxModule().forward(np.array([[1000.0, 1000.0], [-1000.0, -1000.0]]))
        np.testing.assert_array_equal(out, np.full((2, 2), 0.5))

    def test_other_numbers_than_float32_and_float64_are_refused(self):
        for dtype in ('float16', 'int64'):
            with self.assertRaisesRegex(TypeError, f'must be float32 or float64, got {dtype}'):
                SoftMaxModule().forward(np.zeros((2, 3), dtype))
            with self.assertRaisesRegex(TypeError, f'must be float32 or float64, got {dtype}'):
                CrossEntropyModule().forward(np.ones((2, 3), dtype), np.array([0, 1]))


class TestCrossEntropy(GradientTestCase):
    shapes = ((1, 1), (4, 1), (1, 3), (5, 4), (2, 7))  # (B, C)

    def assert_gradient(self, x, y):
        module = CrossEntropyModule()
        numerical = eval_numerical_gradient(lambda x: module.forward(x, y), x, verbose=False)
        with self.subTest(shape=x.shape):
            self.assert_numerical(module.backward(x, y), numerical)

    def test_value(self):
        x = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]])
        expected = (np.log(4) + np.log(8)) / 2
        self.assertAlmostEqual(CrossEntropyModule().forward(x, np.array([1, 2])), expected, delta=EXACT)
        self.assertAlmostEqual(CrossEntropyModule().forward(x, np.eye(3)[[1, 2]]), expected, delta=EXACT)

    def test_value_with_soft_targets(self):
        """Of a distribution with itself, it is the entropy."""
        x = np.array([[0.5, 0.25, 0.25]])
        self.assertAlmostEqual(CrossEntropyModule().forward(x, x), 1.5 * np.log(2), delta=EXACT)

    def test_gradient_with_one_hot_targets(self):
        for B, C in self.shapes:
            self.assert_gradient(self.distributions(B, C), self.one_hot(B, C))

    def test_gradient_with_soft_targets(self):
        for B, C in self.shapes:
            self.assert_gradient(self.distributions(B, C), self.distributions(B, C))

    def test_gradient_with_integer_targets(self):
        for B, C in self.shapes:
            self.assert_gradient(self.distributions(B, C), self.rng.integers(0, C, B))

    def test_classes_and_one_hot_rows_of_any_type_are_the_same_targets(self):
        x, classes, one_hot = self.distributions(4, 3), np.array([0, 2, 1, 2]), np.eye(3)[[0, 2, 1, 2]]
        module = CrossEntropyModule()
        for y in (classes.astype(np.uint8), classes.tolist(), one_hot.astype(int), one_hot.astype(np.float32)):
            with self.subTest(y=y):
                self.assertEqual(module.forward(x, y), module.forward(x, one_hot))
                np.testing.assert_array_equal(module.backward(x, y), module.backward(x, one_hot))

    def test_probability_of_zero_counts_as_the_smallest(self):
        module, t = CrossEntropyModule(), np.array([0, 1])
        for dtype in (np.float32, np.float64):
            x, tiny = np.array([[0, 1], [1, 0]], dtype), np.finfo(dtype).tiny / np.finfo(dtype).eps
            with self.subTest(dtype=dtype.__name__), warnings.catch_warnings():
                warnings.simplefilter('error')
                np.testing.assert_allclose(module.forward(x, t), -np.log(tiny), rtol=4 * np.finfo(dtype).eps)
                expected = [[-0.5 / tiny, 0], [0, -0.5 / tiny]]
                np.testing.assert_allclose(module.backward(x, t), expected, rtol=4 * np.finfo(dtype).eps)


class TestSoftMaxWithCrossEntropy(GradientTestCase):
    """Together they have the simplest gradient of all: ∂L/∂x̃ = (softmax(x̃) − t) / B."""

    @staticmethod
    def loss_and_gradient(x, t):
        softmax, cross_entropy = SoftMaxModule(), CrossEntropyModule()
        probabilities = softmax.forward(x)
        return cross_entropy.forward(probabilities, t), softmax.backward(cross_entropy.backward(probabilities, t))

    def test_gradient_is_softmax_minus_target(self):
        for B, C in ((1, 1), (1, 3), (5, 4), (2, 7)):
            for t in (self.one_hot(B, C), self.distributions(B, C)):
                x = self.rng.normal(size=(B, C))
                _, gradient = self.loss_and_gradient(x, t)
                numerical = eval_numerical_gradient(lambda x, t=t: self.loss_and_gradient(x, t)[0], x, verbose=False)
                with self.subTest(shape=(B, C)):
                    self.assert_equal_formulas(gradient, (SoftMaxModule().forward(x) - t) / B)
                    self.assert_numerical(gradient, numerical)

    def assert_exact_at_extremes(self, x, softmax):
        """Finite loss, gradient softmax − t, no warning, for every target and in both precisions."""
        x, softmax = np.array(x), np.array(softmax)
        B, C = x.shape
        targets = [np.eye(C)[np.full(B, label)] for label in range(C)] + [self.distributions(B, C)]
        for dtype in (np.float32, np.float64):
            for t in targets:
                with self.subTest(dtype=dtype.__name__, t=t), warnings.catch_warnings():
                    warnings.simplefilter('error')
                    loss, gradient = self.loss_and_gradient(x.astype(dtype), t.astype(dtype))
                    self.assertTrue(np.isfinite(loss))
                    self.assertEqual(gradient.dtype, dtype)
                    # A handful of roundings of numbers up to 1.
                    np.testing.assert_allclose(gradient, (softmax - t) / B, rtol=0, atol=4 * np.finfo(dtype).eps)

    def test_logits_of_a_thousand(self):
        self.assert_exact_at_extremes([[1000, -1000, 0]], [[1, 0, 0]])
        self.assert_exact_at_extremes([[-1000, -1000, -1000]], [[1 / 3, 1 / 3, 1 / 3]])
        self.assert_exact_at_extremes([[1000, 1000], [-1000, 1000], [0, 0]], [[0.5, 0.5], [0, 1], [0.5, 0.5]])

    def test_probability_that_underflows(self):
        """exp(−90) and exp(−100) are below float32's smallest normal and smallest number; −710 and −750, float64's."""
        for exponent in (-90.0, -100.0, -110.0, -710.0, -740.0, -750.0):
            self.assert_exact_at_extremes([[0, exponent], [exponent, 0]], [[1, 0], [0, 1]])

    def test_one_class(self):
        self.assert_exact_at_extremes([[-1000], [0], [1000]], [[1], [1], [1]])
        loss, gradient = self.loss_and_gradient(np.array([[3.0], [-1000.0]]), np.ones((2, 1)))
        self.assertEqual(loss, 0)
        np.testing.assert_array_equal(gradient, np.zeros((2, 1)))


class TestMLP(GradientTestCase):
    """The whole network: loss → softmax → linear → ReLU → … → every weight and bias."""

    networks = ((4, [], 3), (4, [6], 3), (3, [5], 1), (5, [7, 4, 6], 3))  # n_inputs, n_hidden, n_classes

    def network(self, n_inputs, n_hidden, n_classes):
        mlp = MLP(n_inputs, n_hidden, n_classes)
        for layer in mlp.linear_layers:
            layer.params['weight'] = self.rng.normal(size=layer.params['weight'].shape) / np.sqrt(n_inputs)
            layer.params['bias'] = self.rng.normal(size=layer.params['bias'].shape)
        return mlp

    @staticmethod
    def loss(mlp, x, t):
        return CrossEntropyModule().forward(mlp.forward(x), t)

    @staticmethod
    def gradients(mlp, x, t):
        """Those of every weight and bias, in order."""
        mlp.backward(CrossEntropyModule().backward(mlp.forward(x), t))
        return [layer.grads[name] for layer in mlp.linear_layers for name in ('weight', 'bias')]

    @staticmethod
    def params(mlp):
        return [layer.params[name] for layer in mlp.linear_layers for name in ('weight', 'bias')]

    def test_every_weight_and_bias(self):
        for n_inputs, n_hidden, n_classes in self.networks:
            mlp = self.network(n_inputs, n_hidden, n_classes)
            for B in (1, 6):
                x, t = self.rng.normal(size=(B, n_inputs)), self.one_hot(B, n_classes)
                for i, (gradient, param) in enumerate(zip(self.gradients(mlp, x, t), self.params(mlp), strict=True)):
                    numerical = eval_numerical_gradient(
                        lambda _, mlp=mlp, x=x, t=t: self.loss(mlp, x, t), param, verbose=False
                    )
                    with self.subTest(n_hidden=n_hidden, B=B, param=i):
                        self.assert_numerical(gradient, numerical)

    def test_batch_mean_is_taken_exactly_once(self):
        """The gradient of a batch is the mean of those of its samples, for weights and biases alike."""
        for n_inputs, n_hidden, n_classes in self.networks:
            mlp = self.network(n_inputs, n_hidden, n_classes)
            x, t = self.rng.normal(size=(6, n_inputs)), self.one_hot(6, n_classes)
            alone = [self.gradients(mlp, x[b : b + 1], t[b : b + 1]) for b in range(6)]
            for of_batch, of_samples in zip(self.gradients(mlp, x, t), zip(*alone, strict=True), strict=True):
                with self.subTest(n_hidden=n_hidden, shape=of_batch.shape):
                    self.assert_equal_formulas(of_batch, np.mean(of_samples, axis=0))

    def test_without_hidden_layers_it_is_logistic_regression(self):
        mlp = self.network(4, [], 3)
        x, t = self.rng.normal(size=(6, 4)), self.one_hot(6, 3)
        W, b = self.params(mlp)
        exp = np.exp(x @ W.T + b)
        p = exp / exp.sum(axis=1, keepdims=True)
        dW, db = self.gradients(mlp, x, t)
        self.assert_equal_formulas(mlp.forward(x), p)
        self.assert_equal_formulas(dW, (p - t).T @ x / 6)
        self.assert_equal_formulas(db, (p - t).mean(axis=0))

    def test_no_gradient_is_computed_for_the_input(self):
        """It would cost as much as the layer's forward pass."""
        mlp, returned = MLP(4, [6], 3), []
        backward = mlp.layers[0].backward
        mlp.layers[0].backward = lambda *args, **kwargs: returned.append(backward(*args, **kwargs))
        self.gradients(mlp, self.rng.normal(size=(5, 4)), self.one_hot(5, 3))
        self.assertIsNone(*returned)

    def test_hopelessly_wrong_network_still_learns(self):
        """Logits of ±1e4 and the wrong class: the gradient is that of softmax − t, neither 0 nor infinite."""
        for dtype in (np.float32, np.float64):
            mlp = MLP(2, [], 2, dtype)
            mlp.layers[0].params['weight'] = np.array([[1e4, 0], [0, 1e4]], dtype)
            with self.subTest(dtype=dtype.__name__), warnings.catch_warnings():
                warnings.simplefilter('error')
                x, t = np.array([[1, -1], [-1, 1]], dtype), np.array([[0, 1], [1, 0]], dtype)
                dW, db = self.gradients(mlp, x, t)
                np.testing.assert_allclose(dW, [[1, -1], [-1, 1]], rtol=4 * np.finfo(dtype).eps)
                np.testing.assert_allclose(db, [0, 0], rtol=0, atol=4 * np.finfo(dtype).eps)


class TestDtypes(GradientTestCase):
    """Float32 in, float32 out: one float64 on the way would double the time of all that follows."""

    def test_modules(self):
        for dtype in (np.float32, np.float64):
            x = self.rng.normal(size=(5, 4)).astype(dtype)
            for module in (LinearModule(4, 4, dtype), ReLUModule(), LeakyReLUModule(), ELUModule(), SoftMaxModule()):
                with self.subTest(dtype=dtype.__name__, module=type(module).__name__):
                    out = module.forward(x)
                    self.assertEqual([out.dtype, module.backward(out).dtype], [dtype, dtype])
                    for name, param in getattr(module, 'params', {}).items():
                        self.assertEqual([param.dtype, module.grads[name].dtype], [dtype, dtype])

    def test_cross_entropy_whatever_the_targets(self):
        module, classes = CrossEntropyModule(), self.rng.integers(0, 4, 5)
        for dtype in (np.float32, np.float64):
            x = self.distributions(5, 4).astype(dtype)
            for y in (classes, np.eye(4)[classes], np.eye(4, dtype=np.float32)[classes], np.eye(4, dtype=int)[classes]):
                with self.subTest(dtype=dtype.__name__, targets=y.dtype):
                    self.assertEqual([module.forward(x, y).dtype, module.backward(x, y).dtype], [dtype, dtype])

    def test_mlp(self):
        for dtype in (np.float32, np.float64):
            mlp = MLP(4, [6, 5], 3, dtype)
            probabilities = mlp.forward(self.rng.normal(size=(5, 4)).astype(dtype))
            mlp.backward(CrossEntropyModule().backward(probabilities, self.one_hot(5, 3)))
            arrays = [a for layer in mlp.linear_layers for a in (*layer.params.values(), *layer.grads.values())]
            with self.subTest(dtype=dtype.__name__):
                self.assertEqual({a.dtype for a in [probabilities, *arrays]}, {np.dtype(dtype)})


class TestErrors(GradientTestCase):
    """Whoever passes a wrong shape reads what it is of, what was expected and what came. Most of these would broadcast.

    The text is compared from beginning to end: half a message sends people to look in the wrong place.
    """

    def assert_refused(self, message, function, *args, error=ValueError):
        with self.subTest(message=message):
            with self.assertRaises(error) as caught:
                function(*args)
            self.assertEqual(str(caught.exception), message)

    def test_linear(self):
        for n_in, n_out in ((0, 3), (4, 0), (-1, -2)):
            message = f'in_features and out_features must be positive, got {n_in} and {n_out}'
            self.assert_refused(message, LinearModule, n_in, n_out)
        module = LinearModule(4, 3)
        for shape in ((5, 3), (5, 5), (4,), (5, 4, 1)):
            self.assert_refused(f'x must have shape (B, 4), got {shape}', module.forward, np.zeros(shape))
        module.forward(np.zeros((5, 4)))
        for shape in ((5, 4), (1, 3), (3,), ()):
            self.assert_refused(f'dout must have shape (5, 3), got {shape}', module.backward, np.zeros(shape))

    def test_activations(self):
        for module in (ReLUModule(), LeakyReLUModule(), ELUModule()):
            for x, expected in ((np.zeros((5, 3)), '(5, 3)'), (np.zeros(5), '(5,)')):
                module.forward(x)
                for shape in ((5, 1), (1,), ()):
                    message = f'dout must have shape {expected}, got {shape}'
                    self.assert_refused(message, module.backward, np.zeros(shape))
        for module in (LeakyReLUModule(), ELUModule()):  # an integer slope would be 0
            message = 'x must be float32 or float64, got int64'
            self.assert_refused(message, module.forward, np.array([-1, 2], np.int64), error=TypeError)

    def test_softmax(self):
        module = SoftMaxModule()
        for shape in ((3,), (5, 3, 1), ()):
            self.assert_refused(f'x must have shape (B, C), got {shape}', module.forward, np.zeros(shape))
        module.forward(np.zeros((5, 3)))
        for shape in ((5, 1), (1, 3), (3,)):
            self.assert_refused(f'dout must have shape (5, 3), got {shape}', module.backward, np.zeros(shape))

    def test_cross_entropy(self):
        x, module = self.distributions(3, 4), CrossEntropyModule()
        for method in (module.forward, module.backward):
            self.assert_refused('x must have shape (B, C), got (4,)', method, x[0], np.zeros(4, int))
            for y, message in (
                (np.zeros((3, 1)), 'y must have shape (3, 4), got (3, 1)'),
                (np.zeros((1, 4), int), 'y must have shape (3, 4), got (1, 4)'),
                (np.zeros(3), 'y must have shape (3, 4), got (3,)'),  # classes as floats
                (np.zeros(1, int), 'y must have shape (3,), got (1,)'),
                (np.array([0, 4, 1]), 'classes must lie in 0 ... 3, got 0 ... 4'),
                (np.array([3, -1, 0]), 'classes must lie in 0 ... 3, got -1 ... 3'),  # -1 would be the last
            ):
                self.assert_refused(message, method, x, y)
            method(x, np.array([0, 3, 3]))

    def test_batch_norm(self):
        function = CustomBatchNormManualFunction.apply
        versions = CustomBatchNormAutograd(4), CustomBatchNormManualModule(4)
        for forward in (*versions, lambda x: function(x, torch.ones(4), torch.zeros(4))):
            for shape in ((5, 3), (4,), (5, 4, 1)):
                self.assert_refused(f'expected input of shape (B, 4), got {shape}', forward, torch.zeros(shape))
            for n in (0, 1):
                message = f'expected a batch of 2 or more to take a variance over, got {n}'
                self.assert_refused(message, forward, torch.zeros(n, 4))
            message = 'expected floating-point input, got torch.uint8'
            self.assert_refused(message, forward, torch.zeros(5, 4, dtype=torch.uint8), error=TypeError)


class TestTwins(GradientTestCase):
    """The NumPy and the PyTorch MLP are one network: the same losses, gradients and weights, step by step."""

    def twins(self, n_inputs, n_hidden, n_classes):
        """Both networks with the same parameters, in float64."""
        ours = MLP(n_inputs, n_hidden, n_classes)
        theirs = mlp_pytorch.MLP(n_inputs, n_hidden, n_classes).double()
        for layer, twin in zip(ours.linear_layers, theirs.linear_layers, strict=True):
            for name, param in layer.params.items():
                param[...] = self.rng.normal(size=param.shape) / 2
                getattr(twin, name).data.copy_(torch.from_numpy(param))
        return ours, theirs

    def assert_twins(self, numpy_array, tensor, what):
        """Equal, relative to the largest element of the array."""
        expected = tensor.detach().numpy()
        np.testing.assert_allclose(numpy_array, expected, rtol=0, atol=TWINS * np.abs(expected).max(), err_msg=what)

    def test_hundred_steps_of_sgd(self):
        learning_rate = 0.1
        for n_hidden in ([], [9, 7]):
            ours, theirs = self.twins(12, n_hidden, 5)
            cross_entropy = CrossEntropyModule()
            optimizer = torch.optim.SGD(theirs.parameters(), lr=learning_rate)
            losses = []
            for step in range(100):
                x = self.rng.normal(size=(16, 12))
                labels = x[:, :5].argmax(axis=1)

                probabilities = ours.forward(x)
                loss = cross_entropy.forward(probabilities, labels)
                ours.backward(cross_entropy.backward(probabilities, labels))
                for layer in ours.linear_layers:
                    for name, param in layer.params.items():
                        param -= learning_rate * layer.grads[name]

                optimizer.zero_grad()
                loss_of_twin = nn.functional.cross_entropy(theirs(torch.from_numpy(x)), torch.from_numpy(labels))
                loss_of_twin.backward()
                optimizer.step()

                self.assert_twins(loss, loss_of_twin, f'loss, step {step}')
                for i, (layer, twin) in enumerate(zip(ours.linear_layers, theirs.linear_layers, strict=True)):
                    for name in ('weight', 'bias'):
                        tensor = getattr(twin, name)
                        self.assert_twins(layer.grads[name], tensor.grad, f'gradient of {name} {i}, step {step}')
                        self.assert_twins(layer.params[name], tensor, f'{name} {i}, step {step}')
                losses.append(loss)
            self.assertLess(np.mean(losses[-10:]), 0.8 * np.mean(losses[:10]))  # they learn, hand in hand


class TestBatchNorm(GradientTestCase):
    """Question 3 in float64: the equations, and the gradients against central differences and nn.BatchNorm1d."""

    shapes = ((2, 1), (5, 3), (32, 10))  # (B, C)

    def arrays(self, n, c):
        """x, gamma, beta, dout with columns of different mean and scale."""
        x = self.rng.normal(size=(n, c)) * self.rng.uniform(0.5, 3, c) + self.rng.normal(size=c)
        return x, self.rng.normal(size=c), self.rng.normal(size=c), self.rng.normal(size=(n, c))

    @staticmethod
    def module(version, gamma, beta):
        module = version(len(gamma)).double()
        with torch.no_grad():
            module.gamma.copy_(torch.as_tensor(gamma))
            module.beta.copy_(torch.as_tensor(beta))
        return module

    def assert_gradients(self, forward, arrays, dout, gradients):
        """The gradients of x, gamma and beta agree with central differences of forward."""
        for name, array, gradient in zip(('x', 'gamma', 'beta'), arrays, gradients, strict=True):
            # The check changes the array itself, so that forward sees the change.
            numerical = eval_numerical_gradient_array(lambda _: forward(*arrays), array, dout)
            with self.subTest(gradient=name, shape=dout.shape):
                self.assert_numerical(gradient, numerical)

    def test_versions_against_central_differences(self):
        for version in (CustomBatchNormAutograd, CustomBatchNormManualModule):
            for n, c in self.shapes:
                *arrays, dout = self.arrays(n, c)

                def forward(x, gamma, beta, version=version):
                    return self.module(version, gamma, beta)(torch.as_tensor(x)).detach().numpy()

                module = self.module(version, *arrays[1:])
                x = torch.tensor(arrays[0], requires_grad=True)
                gradients = torch.autograd.grad(module(x), (x, module.gamma, module.beta), torch.as_tensor(dout))
                with self.subTest(version=version.__name__):
                    self.assert_gradients(forward, arrays, dout, [g.numpy() for g in gradients])

    def test_closed_form_against_central_differences(self):
        """The derivation itself, in NumPy: forward and closed form as the report states them."""

        def forward(x, gamma, beta, eps=1e-5):
            return gamma * (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps) + beta

        for n, c in self.shapes:
            x, gamma, beta, dout = self.arrays(n, c)
            rstd = 1 / np.sqrt(x.var(axis=0) + 1e-5)
            x_hat = (x - x.mean(axis=0)) * rstd
            dbeta = dout.sum(axis=0)
            dgamma = (dout * x_hat).sum(axis=0)
            dx = gamma * rstd * (dout - dbeta / n - x_hat * dgamma / n)
            self.assert_gradients(forward, [x, gamma, beta], dout, [dx, dgamma, dbeta])

    def test_gradcheck_and_gradgradcheck(self):
        for n, c in self.shapes:
            x, gamma, beta, _ = (torch.tensor(a, requires_grad=True) for a in self.arrays(n, c))
            with self.subTest(shape=(n, c)):
                self.assertTrue(torch.autograd.gradcheck(CustomBatchNormManualFunction.apply, (x, gamma, beta)))
                self.assertTrue(torch.autograd.gradgradcheck(CustomBatchNormManualFunction.apply, (x, gamma, beta)))

    def test_equal_to_torch(self):
        for version in (CustomBatchNormAutograd, CustomBatchNormManualModule):
            for n, c in self.shapes:
                x, gamma, beta, dout = self.arrays(n, c)
                x = torch.tensor(x, requires_grad=True)
                ours = self.module(version, gamma, beta)
                theirs = nn.BatchNorm1d(c).double()
                theirs.load_state_dict({'weight': ours.gamma, 'bias': ours.beta}, strict=False)

                def results(module, x=x, dout=dout):
                    out = module(x)
                    return [out, *torch.autograd.grad(out, (x, *module.parameters()), torch.as_tensor(dout))]

                for name, a, b in zip(('out', 'dx', 'dgamma', 'dbeta'), results(ours), results(theirs), strict=True):
                    with self.subTest(version=version.__name__, shape=(n, c), of=name):
                        self.assert_equal_formulas(a.detach().numpy(), b.detach().numpy())

    def test_gamma_and_beta_of_a_wrong_shape_are_refused(self):
        x, gamma, beta, _ = map(torch.as_tensor, self.arrays(3, 3))
        for g, b in ((gamma[:, None], beta[:, None]), (gamma, beta.expand(3, 3)), (gamma[None], beta)):
            message = f'expected gamma and beta of one shape (C,), got {tuple(g.shape)} and {tuple(b.shape)}'
            with self.assertRaisesRegex(ValueError, f'^{re.escape(message)}$'):
                CustomBatchNormManualFunction.apply(x, g, b)

    def test_biased_variance(self):
        """(-1, 1) has mean 0 and variance 1; Bessel's correction would make it 2, and the output ±0.707."""
        x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
        expected = x.numpy() / np.sqrt(1 + 1e-5)
        for version in (CustomBatchNormAutograd, CustomBatchNormManualModule):
            with self.subTest(version=version.__name__):
                out = version(1).double()(x).detach().numpy()
                self.assert_equal_formulas(out, expected)

    def test_eps(self):
        """Of 1e-5 by default, beside the variance of 1 that (-1, 1) has."""
        x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
        one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        for eps in ([], [3.0]):
            expected = x.numpy() / np.sqrt(1 + (eps[0] if eps else 1e-5))
            self.assert_equal_formulas(CustomBatchNormManualFunction.apply(x, one, zero, *eps).numpy(), expected)
            for version in (CustomBatchNormAutograd, CustomBatchNormManualModule):
                module = version(1, *eps)
                with self.subTest(module=module):
                    self.assert_equal_formulas(module.double()(x).detach().numpy(), expected)
                    self.assertEqual(repr(module), f'{version.__name__}(1, eps={eps[0] if eps else 1e-05})')

    def backward(self, x, gamma, beta, dout, needed):
        """The gradients that the manual backward returns where those of `needed` alone are asked for."""
        out = CustomBatchNormManualFunction.apply(x.requires_grad_(), gamma, beta)
        saved = out.grad_fn.saved_tensors  # older versions of torch free them with `out`
        context = SimpleNamespace(saved_tensors=saved, eps=1e-5, needs_input_grad=(*needed, False))
        with torch.no_grad():
            return CustomBatchNormManualFunction.backward(context, dout)

    def test_gradients_asked_for_one_by_one(self):
        """Each is the same whatever else is asked for, and None if it is not."""
        arrays = [torch.as_tensor(a) for a in self.arrays(5, 3)]
        together = self.backward(*arrays, (True, True, True))
        for needed in product((False, True), repeat=3):
            gradients = self.backward(*arrays, needed)
            with self.subTest(needed=needed):
                for gradient, expected, need in zip(gradients, together, (*needed, False), strict=True):
                    self.assertTrue(torch.equal(gradient, expected) if need else gradient is None)

    def test_half_precision_keeps_its_statistics_in_float32(self):
        """A mean near 100 would be off by up to 0.03 in float16, by 0.25 in bfloat16."""
        x, gamma, beta, dout = (torch.as_tensor(a, dtype=torch.float32) for a in self.arrays(500, 4))
        for dtype in (torch.float16, torch.bfloat16):
            half = (100 + x).to(dtype), gamma, beta, dout.to(dtype)

            def results(x, gamma, beta, dout):
                out = CustomBatchNormManualFunction.apply(x, gamma, beta)
                return [out, *self.backward(x, gamma, beta, dout, (True, True, True))[:3]]

            exact = results(*(a.double() for a in half))
            for name, a, b in zip(('out', 'dx', 'dgamma', 'dbeta'), results(*half), exact, strict=True):
                with self.subTest(dtype=dtype, of=name):
                    expected_dtype = dtype if name in ('out', 'dx') else torch.float32
                    self.assertEqual(a.dtype, expected_dtype)
                    # The last rounding is that of the result; before it, sums of 500 float32 terms of order one.
                    torch.testing.assert_close(a.double(), b, rtol=torch.finfo(expected_dtype).eps, atol=2e-4)

    def test_each_pass_takes_one_matrix_of_memory(self):
        """On a CPU the page faults of a second one would cost more than the arithmetic."""

        kept = []  # all that operations return, so that no memory is used twice

        class Keep(TorchDispatchMode):
            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                kept.append(function(*args, **(kwargs or {})))
                return kept[-1]

        def matrices(tensors):
            return {t.untyped_storage().data_ptr() for t in tensors if getattr(t, 'shape', None) == (5, 3)}

        *inputs, dout = (torch.as_tensor(array).requires_grad_() for array in self.arrays(5, 3))
        with Keep():
            out = CustomBatchNormManualFunction.apply(*inputs)
        self.assertEqual(len(matrices(kept) - matrices(inputs)), 1)
        known = matrices([*kept, *inputs, dout])
        with Keep():
            torch.autograd.grad(out, inputs, dout)
        self.assertEqual(len(matrices(kept) - known), 1)


class TestConvolution(GradientTestCase):
    shapes = ((1, 3, 2, 1), (3, 2, 4, 2), (2, 4, 3, 5))  # (B, in, out, height = width); of 2 a matrix product

    def test_gradients_against_central_differences(self):
        for B, n_in, n_out, height in self.shapes:
            conv = Conv3x3(n_in, n_out).double()
            x = torch.tensor(self.rng.normal(size=(B, n_in, height, height)), requires_grad=True)
            dout = self.rng.normal(size=(B, n_out, height, height))
            conv(x).backward(torch.from_numpy(dout))

            def forward(_, conv=conv, x=x):
                return conv(x).detach().numpy()

            for name, variable in (('x', x), *conv.named_parameters()):
                # The array shares its memory with the variable, so that forward sees the change.
                numerical = eval_numerical_gradient_array(forward, variable.detach().numpy(), dout)
                with self.subTest(gradient=name, shape=tuple(x.shape)):
                    self.assert_numerical(variable.grad.numpy(), numerical)


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


class TestReportModules(ReportTestCase):
    """Question 1.1 a): each module by itself, for one sample."""

    def test_eq_linear(self):
        x, W, b = self.rng.normal(size=6), self.W[1], self.b[1]
        x_tilde = W @ x + b
        module = LinearModule(6, 5)
        module.params = {'weight': W, 'bias': b}
        self.assert_equal_formulas(x_tilde, module.forward(x[None])[0])

    def test_eq_relu(self):
        x_tilde = self.rng.normal(size=6)
        self.assert_equal_formulas(np.maximum(0, x_tilde), ReLUModule().forward(x_tilde[None])[0])

    def test_eq_softmax(self):
        x_tilde = self.rng.normal(size=5)
        x = np.array([np.exp(x_tilde[i]) / sum(np.exp(x_tilde[j]) for j in range(5)) for i in range(5)])
        self.assert_equal_formulas(x, SoftMaxModule().forward(x_tilde[None])[0])

    def test_eq_cross_entropy(self):
        x, t = self.distributions(2, 5)
        L = -sum(t[i] * np.log(x[i]) for i in range(5))
        self.assertAlmostEqual(L, CrossEntropyModule().forward(x[None], t[None]), delta=EXACT)

    def test_eq_cross_entropy_gradient(self):
        x, t = self.distributions(2, 5)
        numerical = eval_numerical_gradient(lambda x: self.cross_entropy(x, t), x, verbose=False)
        self.assert_numerical(-t / x, numerical)

    def test_eq_softmax_index(self):
        x_tilde = self.rng.normal(size=5)
        x, delta = self.softmax(x_tilde), np.eye(5)
        e, total = np.exp(x_tilde), np.exp(x_tilde).sum()
        quotient = [[(delta[i, j] * e[i] * total - e[i] * e[j]) / total**2 for j in range(5)] for i in range(5)]
        closed = [[x[i] * (delta[i, j] - x[j]) for j in range(5)] for i in range(5)]
        for derivative in (quotient, closed):
            self.assert_numerical(derivative, self.jacobian(self.softmax, x_tilde))

    def test_eq_softmax_matrix(self):
        x_tilde = self.rng.normal(size=5)
        x = self.softmax(x_tilde)
        self.assert_numerical(np.diag(x) - np.outer(x, x), self.jacobian(self.softmax, x_tilde))

    def test_eq_relu_jacobian(self):
        x_tilde, delta = self.rng.normal(size=6), np.eye(6)
        numerical = self.jacobian(lambda x: np.maximum(0, x), x_tilde)
        index = [[delta[i, j] * (x_tilde[i] > 0) for j in range(6)] for i in range(6)]
        self.assert_numerical(index, numerical)
        self.assert_numerical(np.diag(x_tilde > 0), numerical)

    def test_eq_linear_input(self):
        x, W, b = self.rng.normal(size=6), self.W[1], self.b[1]
        self.assert_numerical(W, self.jacobian(lambda x: W @ x + b, x))

    def test_eq_linear_weight(self):
        x, W, b, delta = self.rng.normal(size=6), self.W[1], self.b[1], np.eye(5)
        tensor = [[[delta[i, j] * x[k] for k in range(6)] for j in range(5)] for i in range(5)]
        self.assert_numerical(tensor, self.jacobian(lambda W: W @ x + b, W))

    def test_eq_linear_bias(self):
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
        x, t = self.x[-1], self.t
        self.assert_numerical((np.diag(x) - np.outer(x, x)) @ (-t / x), self.dx_tilde[-1])
        self.assert_numerical(-t + x * t.sum(), self.dx_tilde[-1])
        self.assert_numerical(x - t, self.dx_tilde[-1])

    def test_eq_chain_input(self):
        for k in self.hidden:
            self.assert_numerical(self.W[k + 1].T @ self.dx_tilde[k + 1], self.dx[k])

    def test_eq_chain_hidden(self):
        for k in self.hidden:
            step, back = self.x_tilde[k] > 0, self.W[k + 1].T @ self.dx_tilde[k + 1]
            self.assert_numerical(np.diag(step) @ self.dx[k], self.dx_tilde[k])
            self.assert_numerical(step * back, self.dx_tilde[k])

    def test_eq_chain_weight(self):
        for k in range(1, self.N + 1):
            g, x, (n_out, n_in) = self.dx_tilde[k], self.x[k - 1], self.W[k].shape
            delta = np.eye(n_out)
            index = [[sum(g[i] * delta[i, j] * x[m] for i in range(n_out)) for m in range(n_in)] for j in range(n_out)]
            self.assert_numerical(index, self.dW[k])
            self.assert_numerical(np.outer(g, x), self.dW[k])

    def test_eq_chain_bias(self):
        for k in range(1, self.N + 1):
            self.assert_numerical(np.eye(len(self.b[k])).T @ self.dx_tilde[k], self.db[k])
            self.assert_numerical(self.dx_tilde[k], self.db[k])

    def test_eq_product(self):
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
        x, t = self.x[-1], self.t
        L = -sum(t[b, i] * np.log(x[b, i]) for b in range(self.B) for i in range(3)) / self.B
        self.assertAlmostEqual(L, CrossEntropyModule().forward(x, t), delta=EXACT)

    def test_eq_batch_linear(self):
        for k in range(1, self.N + 1):
            X, W, b = self.x[k - 1], self.W[k], self.b[k]
            module = LinearModule(*W.shape[::-1])
            module.params = {'weight': W, 'bias': b}
            self.assert_equal_formulas(X @ W.T + np.outer(np.ones(self.B), b), module.forward(X))

    def test_eq_batch_cross_entropy(self):
        x, t = self.x[-1], self.t
        gradient = [[-t[b, i] / (self.B * x[b, i]) for i in range(3)] for b in range(self.B)]
        self.assert_numerical(gradient, self.dx[-1])

    def test_eq_batch_softmax(self):
        X, G = self.x[-1], self.dx[-1]
        gradient = X * (G - np.outer((X * G) @ np.ones(3), np.ones(3)))
        self.assert_numerical(gradient, self.dx_tilde[-1])

    def test_eq_batch_output(self):
        self.assert_numerical((self.x[-1] - self.t) / self.B, self.dx_tilde[-1])

    def test_eq_batch_hidden(self):
        for k in range(1, self.N):
            self.assert_numerical((self.dx_tilde[k + 1] @ self.W[k + 1]) * (self.x_tilde[k] > 0), self.dx_tilde[k])

    def test_eq_batch_weight(self):
        for k in range(1, self.N + 1):
            self.assert_numerical(self.dx_tilde[k].T @ self.x[k - 1], self.dW[k])

    def test_eq_batch_bias(self):
        for k in range(1, self.N + 1):
            self.assert_numerical(self.dx_tilde[k].T @ np.ones(self.B), self.db[k])


class TestReportImplementation(ReportTestCase):
    """Question 1.2: what the code computes, and what it costs."""

    def test_eq_shifted_softmax(self):
        x_tilde = 500 + self.rng.normal(size=5)  # exp of it still fits into a float64
        m = x_tilde.max()
        x = np.exp(x_tilde - m) / np.exp(x_tilde - m).sum()
        self.assert_equal_formulas(x, self.softmax(x_tilde))
        self.assert_equal_formulas(x, SoftMaxModule().forward(x_tilde[None])[0])

    def test_eq_flops(self):
        """As PyTorch counts the products of its own twin, which needs no input gradient either."""
        n, N = self.sizes, self.N
        flops = 2 * self.B * (3 * sum(n[k] * n[k - 1] for k in range(1, N + 1)) - n[1] * n[0])
        model = mlp_pytorch.MLP(n[0], list(n[1:-1]), n[-1])
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(self.B, n[0])).sum().backward()
        self.assertEqual(flops, counter.get_total_flops())


class TestReportBestMLP(ReportTestCase):
    """Question 2: what tells an MLP which pixels are neighbours."""

    def test_eq_zca(self):
        x = self.rng.normal(size=(40, 5)) @ self.rng.normal(size=(5, 5))
        C, eps = x.T @ x / len(x), 0.3
        eigenvalues, V = np.linalg.eigh(C)
        s = (eigenvalues / (eigenvalues + eps)).mean() ** -0.5
        Z = s * V @ np.diag((eigenvalues + eps) ** -0.5) @ V.T
        self.assert_equal_formulas(Z @ Z @ (C + eps * np.eye(5)), s**2 * np.eye(5))
        self.assert_equal_formulas(Z @ C @ Z.T, s**2 * C @ np.linalg.inv(C + eps * np.eye(5)))
        layer = mlp_pytorch.Whitening(5).double()
        layer.fit([torch.from_numpy(x[:15]), torch.from_numpy(x[15:])], eps)
        self.assert_equal_formulas(layer.Z.numpy(), Z)
        outputs = layer(torch.from_numpy(x)).numpy()
        self.assert_equal_formulas(outputs, (Z @ x.T).T)
        self.assert_equal_formulas((outputs**2).mean(), 1)

    def test_eq_zca_change(self):
        """Q Z whitens as well for every orthogonal Q, and changes x more."""
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

    def test_eq_local(self):
        """The weights of `local_`, from the numbers that it draws.

        Squared distances are sums of float32 terms up to 32² each, whose roundings (6e-8) add up to 2e-4 at most; the
        smallest 2r², 4.5, divides that.
        """
        layers = [nn.Linear(3 * 32 * 32, 5), nn.Linear(5, 4), nn.Linear(4, 3)]
        torch.manual_seed(0)
        mlp_pytorch.local_(layers)
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
        """The mean over all signs of noise and inputs, exactly, for inputs of any sizes whose squares average to 1."""
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
        """No V near the minimum or far from it does better, weight by weight."""
        W, threshold = self.rng.normal(size=(3, 4)), 0.4
        V = np.sign(W) * np.maximum(abs(W) - threshold, 0)

        def objective(V):
            return (V - W) ** 2 / 2 + threshold * abs(V)

        for scale in (1e-4, 1e-2, 1):
            for _ in range(100):
                self.assertTrue((objective(V) <= objective(V + scale * self.rng.normal(size=V.shape))).all())
        self.assertTrue((V == 0).any() and (V != 0).any())
        weight = torch.from_numpy(W.copy())
        mlp_pytorch.soft_threshold_([weight], threshold)
        self.assert_equal_formulas(weight.numpy(), V)

    def test_eq_hard_threshold(self):
        """No V near the minimum or far from it does better, weight by weight; nor does 0, or W itself."""
        W, tau = np.linspace(-1, 1, 400), 0.4  # both sides of ±tau closely, so that a wrong price would show
        V = W * (abs(W) > tau)

        def objective(V):
            return (V - W) ** 2 / 2 + tau**2 / 2 * (V != 0)

        others = [V + scale * self.rng.normal(size=V.shape) for scale in (1e-4, 1e-2, 1) for _ in range(100)]
        for other in [*others, 0 * W, W]:
            self.assertTrue((objective(V) <= objective(other)).all())
        weight = torch.from_numpy(W.copy())
        mlp_pytorch.hard_threshold_([weight], tau)
        self.assert_equal_formulas(weight.numpy(), V)

    def test_eq_adam_step(self):
        """Steps from 0, without a threshold, longer than it, and shorter: the last lead nowhere, however many."""
        gradient = torch.from_numpy(self.rng.normal(size=(3, 4)))
        for eta, tau, stays in [(1e-3, 0, False), (1.1e-3, 1e-3, False), (0.9e-3, 1e-3, True)]:
            weight = torch.zeros(3, 4, dtype=torch.float64)
            optimizer = torch.optim.Adam([weight], eta, eps=0)
            for step in range(1, 4):
                weight.grad = gradient.clone()
                optimizer.step()
                mlp_pytorch.hard_threshold_([weight], tau)
                self.assert_equal_formulas(weight.numpy(), 0 if stays else -step * eta * np.sign(gradient.numpy()))


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
        x, B = self.x, self.B
        mu = sum(x) / B
        var = sum((x[b] - mu) ** 2 for b in range(B)) / B
        self.assert_equal_formulas([mu, var], [np.mean(x), np.var(x)])

    def test_eq_bn_forward(self):
        """Against PyTorch's own, and both of ours."""
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
        def forward(_):
            return self.normalise(self.x, self.gamma, self.beta)

        dgamma = sum(self.dy[b] * self.x_hat[b] for b in range(self.B))
        dbeta = sum(self.dy[b] for b in range(self.B))
        self.assert_numerical([dgamma], eval_numerical_gradient_array(forward, self.gamma, self.dy))
        self.assert_numerical([dbeta], eval_numerical_gradient_array(forward, self.beta, self.dy))

    def test_eq_bn_normalised(self):
        numerical = eval_numerical_gradient_array(lambda x_hat: self.gamma * x_hat + self.beta, self.x_hat, self.dy)
        self.assert_numerical(self.gamma * self.dy, numerical)

    def test_eq_bn_variance(self):
        """With σ² as a variable of its own, beside x and μ."""
        x_c = self.x - self.mu
        dvar = -0.5 * self.r**3 * sum(self.gamma * self.dy * x_c)
        numerical = eval_numerical_gradient_array(
            lambda var: self.gamma * x_c / np.sqrt(var + self.eps) + self.beta, self.var, self.dy
        )
        self.assert_numerical(dvar, numerical)
        self.assert_numerical(-0.5 * self.gamma * self.r**2 * self.dgamma, numerical)

    def test_eq_bn_mean(self):
        """With μ as a variable, on which σ² depends; beside the mean, too, where that does not vanish."""

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
        B, dmu, dvar = self.B, -self.gamma * self.r * self.dbeta, -0.5 * self.gamma * self.r**2 * self.dgamma
        self.assert_numerical(np.full(B, 1 / B), self.jacobian(np.mean, self.x))
        self.assert_numerical(2 * (self.x - self.mu) / B, self.jacobian(np.var, self.x))
        dx = self.gamma * self.dy * self.r + dmu / B + dvar * 2 * (self.x - self.mu) / B
        self.assert_numerical(dx, self.dx)

    def test_eq_bn_closed(self):
        dx = self.gamma * self.r * (self.dy - self.dbeta / self.B - self.x_hat * self.dgamma / self.B)
        self.assert_numerical(dx, self.dx)

    def test_eq_bn_jacobian(self):
        r, x_hat, B, delta = self.r[0], self.x_hat, self.B, np.eye(self.B)
        index = [[r * (delta[a, b] - 1 / B - x_hat[a] * x_hat[b] / B) for b in range(B)] for a in range(B)]
        matrix = r * (np.eye(B) - np.ones((B, B)) / B - np.outer(x_hat, x_hat) / B)
        for derivative in (index, matrix):
            self.assert_numerical(derivative, self.jacobian(self.normalise, self.x))

    def test_eq_bn_invariance(self):
        """Beside ε = 0.1, so that its share shows."""
        self.eps = 0.1
        r = 1 / np.sqrt(self.var + self.eps)
        x_hat = (self.x - self.mu) * r
        dx = eval_numerical_gradient_array(lambda x: self.normalise(x, self.gamma, self.beta), self.x, self.dy)
        self.assert_numerical(0, sum(dx))
        self.assert_numerical(self.gamma * r * self.eps / (self.var + self.eps) * (self.dy @ x_hat), sum(x_hat * dx))


class TestReportConvNet(ReportTestCase):
    """Question 4: the convolution, forward and backward, and the sizes of the layers."""

    shapes = ((1, 3, 2, 6), (2, 4, 3, 7), (3, 2, 4, 2))  # (B, in, out, height = width)

    def setUp(self):
        super().setUp()
        B, n_in, n_out, height, width = self.shape = 3, 2, 4, 2, 3  # so small that it is computed as a matrix product
        self.conv = Conv3x3(n_in, n_out).double()
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
        for B, n_in, n_out, height in self.shapes:
            width = height + 1
            conv = Conv3x3(n_in, n_out).double()
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
        for B, C, C_out, H in self.shapes:
            conv = Conv3x3(C, C_out)
            self.assertEqual((9 * C + 1) * C_out, sum(p.numel() for p in conv.parameters()))
            with FlopCounterMode(display=False) as counter:
                conv(torch.zeros(B, C, H, H))
            self.assertEqual(B * 2 * 9 * C * C_out * H**2, counter.get_total_flops())

    def test_eq_patches(self):
        """Of a filter with a single 1, so that each position gives one of the numbers that it reads."""
        n_in = self.x.shape[1]
        for k, (c, i, j) in enumerate(np.ndindex(n_in, 3, 3)):
            W = np.zeros((1, n_in, 3, 3))
            W[0, c, i, j] = 1
            self.assert_equal_formulas(self.P[:, [k]], self.rows(self.convolved(self.x, W, np.zeros(1))))

    def test_eq_conv_matrix(self):
        W, dY = self.W.reshape(len(self.W), -1), self.rows(self.dy)
        ones = np.ones(len(self.P))
        Y = self.P @ W.T + np.outer(ones, self.b)
        self.assert_equal_formulas(Y, self.rows(self.conv(torch.from_numpy(self.x)).detach().numpy()))
        dW = eval_numerical_gradient_array(lambda W: self.convolved(self.x, W, self.b), self.W, self.dy)
        self.assert_numerical((dY.T @ self.P).reshape(self.W.shape), dW)
        db = eval_numerical_gradient_array(lambda b: self.convolved(self.x, self.W, b), self.b, self.dy)
        self.assert_numerical(dY.T @ ones, db)

    def test_eq_conv_input(self):
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


class TestReportBestConvNet(ReportTestCase):
    """Question 4, as far as it goes: why filters may be kept at one size, Muon's steps, and mixed images."""

    coefficients = 3.4445, -4.7750, 2.0315

    def test_eq_scale_invariance(self):
        self.eps = 0
        x, W = self.rng.normal(size=(20, 7)), self.rng.normal(size=(7, 4))  # patches, and a column for each filter
        dy = self.rng.normal(size=(20, 4))

        def gradient(W):
            return eval_numerical_gradient_array(lambda W: self.normalise(x @ W), W, dy)

        self.assert_numerical(0, (W * gradient(W)).sum(axis=0))
        self.assert_numerical(gradient(W) / 2.5, gradient(2.5 * W))

    def test_eq_muon(self):
        """As Muon itself moves."""
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
        """As torchvision mixes, and PyTorch's cross entropy and the chain's gradient take what comes of it."""
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
        patches = self.rng.normal(size=(500, 12)) * np.linspace(1, 3, 12) + self.rng.normal(size=(500, 1))
        covariance = patches.T @ patches / len(patches)
        eigenvalues, V = np.linalg.eigh(covariance)
        F = np.diag(eigenvalues**-0.5) @ V.T
        outputs = patches @ F.T
        self.assert_equal_formulas(outputs.T @ outputs / len(outputs), np.eye(12))


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


if __name__ == '__main__':
    unittest.main()
