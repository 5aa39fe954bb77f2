"""Every gradient against central differences in float64, and the NumPy MLP against its PyTorch twin.

    python unittests.py                  # all; exits 1 if a check fails
    python unittests.py TestLinear -v    # one class, a line per test
    pytest unittests.py

A central difference with h = 1e-5 errs by h²/6 f''' + ε|f|/h, about 2e-11 each where f and its derivatives are of order
one, as they are made to be below. Sums over a batch and third derivatives above one cost a factor of ten to a hundred.
A wrong formula errs in the first digits.
"""

import contextlib
import io
import unittest
import warnings

import numpy as np
import torch
from torch import nn

import mlp_pytorch
from custom_batchnorm import CustomBatchNormAutograd, CustomBatchNormManualFunction, CustomBatchNormManualModule
from gradient_check import eval_numerical_gradient, eval_numerical_gradient_array, rel_error
from mlp_numpy import MLP
from modules import CrossEntropyModule, ELUModule, LeakyReLUModule, LinearModule, ReLUModule, SoftMaxModule

NUMERICAL_RTOL, NUMERICAL_ATOL = 1e-7, 1e-9  # against central differences, see above
EXACT = 1e-12  # two ways to compute one float64 formula: some hundred roundings of ε = 2e-16
TWINS = 1e-10  # the same after 100 steps, each of which carries on and may double the error of the ones before


class GradientTestCase(unittest.TestCase):
    """Random numbers that are the same in every run, and the comparisons."""

    def setUp(self):
        self.rng = np.random.default_rng(0)

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

    def test_verbose_prints_a_line_per_index(self):
        for verbose, lines in ((True, 6), (False, 0)):
            with contextlib.redirect_stdout(io.StringIO()) as out:
                eval_numerical_gradient(np.sum, np.ones((2, 3)), verbose)
            self.assertEqual(len(out.getvalue().splitlines()), lines)

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
    modules = (
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

    shapes = ((2, 1), (5, 3), (32, 10))  # (N, C)

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

    def test_biased_variance(self):
        """(-1, 1) has mean 0 and variance 1; Bessel's correction would make it 2, and the output ±0.707."""
        x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
        expected = x.numpy() / np.sqrt(1 + 1e-5)
        for version in (CustomBatchNormAutograd, CustomBatchNormManualModule):
            with self.subTest(version=version.__name__):
                out = version(1).double()(x).detach().numpy()
                self.assert_equal_formulas(out, expected)


if __name__ == '__main__':
    unittest.main()
