"""Every gradient against central differences in float64, in the order in which a mistake should be looked for.

    python unittests.py                  # all; exits 1 if a check fails
    python unittests.py TestLinear -v    # one class, a line per test
    pytest unittests.py

Each part stands on those above it, so the first failure printed is the cause, and what follows may be its consequence.
First in each part are the checks by which check_solution.py judges anyone's answer, with its hints; then what is asked
of this repo's own alone, to more digits. What else the modules promise (dtypes, memory, what they refuse in which
words) is checked in tests/, the report's equations by `python report/equations`.

A central difference with h = 1e-5 errs by h²/6 f''' + ε|f|/h, about 2e-11 each where f and its derivatives are of order
one, as they are made to be below. Sums over a batch and third derivatives above one cost a factor of ten to a hundred.
A wrong formula errs in the first digits.
"""

import unittest
import warnings
from importlib import import_module

import numpy as np
import torch
from torch import nn

import mlp_pytorch
from checking.first_cause import difference, run_in_order
from checking.items import judge
from checking.solution import FILES, Solution
from checking.verdicts import RIGHT
from convnet_pytorch import ConvNet
from custom_batchnorm import CustomBatchNormAutograd, CustomBatchNormManualFunction, CustomBatchNormManualModule
from gradient_check import eval_numerical_gradient, eval_numerical_gradient_array, rel_error
from mlp_numpy import MLP
from modules import CrossEntropyModule, ELUModule, LeakyReLUModule, LinearModule, ReLUModule, SoftMaxModule

NUMERICAL_RTOL, NUMERICAL_ATOL = 1e-7, 1e-9  # against central differences, see above
EXACT = 1e-12  # two ways to compute one float64 formula: some hundred roundings of ε = 2e-16
TWINS = 100 * EXACT  # the same after 100 steps, each of which adds its own
OURS = {name: import_module(name) for name in FILES}


class GradientTestCase(unittest.TestCase):
    """Random numbers that are the same in every run, and the comparisons, which say in a line what is off."""

    def setUp(self):
        self.rng = np.random.default_rng(0)
        torch.manual_seed(0)

    def one_hot(self, B, C):
        return np.eye(C)[self.rng.integers(0, C, B)]

    def distributions(self, B, C):
        """Probabilities of at least 1/2C: nearer to 0, the third derivative of the logarithm, 2/x³, is large."""
        return 0.5 / C + 0.5 * self.rng.dirichlet(np.ones(C), B)

    def assert_right(self, *items):
        """check_solution.py's checks of these items find nothing to say."""
        __tracebackhide__ = True
        found = [result for result in judge(Solution(modules=OURS), names=items) if result.verdict != RIGHT]
        if found:
            self.fail('\n'.join(': '.join(filter(None, (r.item, r.detail, r.hint))) for r in found))

    def assert_close(self, actual, expected, rtol, atol, what=''):
        __tracebackhide__ = True  # from pytest
        if far := difference(actual, expected, rtol, atol):
            self.fail(f'{what}: {far}' if what else far)

    def assert_numerical(self, gradient, numerical, what=''):
        """`gradient` agrees with a central difference."""
        __tracebackhide__ = True
        self.assert_close(gradient, numerical, NUMERICAL_RTOL, NUMERICAL_ATOL, what)

    def assert_equal_formulas(self, actual, expected, what=''):
        __tracebackhide__ = True
        self.assert_close(actual, expected, EXACT, EXACT, what)

    def assert_same(self, actual, expected, what=''):
        """Equal to the last bit."""
        __tracebackhide__ = True
        self.assert_close(actual, expected, 0, 0, what)

    def assert_gradients(self, of, gradients, forward, variables, dout):
        """All `gradients` agree with central differences of forward() in `variables`, a dict of the arrays it reads."""
        __tracebackhide__ = True
        wrong = []
        for (name, variable), gradient in zip(variables.items(), gradients, strict=True):
            # The check changes the array itself, so that forward sees the change.
            numerical = eval_numerical_gradient_array(lambda _: forward(), variable, dout)
            if far := difference(gradient, numerical, NUMERICAL_RTOL, NUMERICAL_ATOL):
                wrong.append(f'{of}, gradient of {name} {np.shape(numerical)}: {far}')
        if wrong:
            self.fail('\n'.join(wrong))

    def assert_module(self, module, x):
        """Every gradient that module.backward gives for a random dout agrees with central differences of forward."""
        __tracebackhide__ = True
        dout = self.rng.normal(size=module.forward(x).shape)
        dx = module.backward(dout)
        variables = {'x': x, **getattr(module, 'params', {})}
        gradients = [dx, *(module.grads[name] for name in list(variables)[1:])]
        self.assert_gradients(type(module).__name__, gradients, lambda: module.forward(x), variables, dout)


class TestGradientCheck(GradientTestCase):
    """The judge is judged first, on functions whose derivatives everyone knows."""

    def test_gradient_of_known_functions(self):
        A, x = self.rng.normal(size=(2, 3)), self.rng.normal(size=(3, 4))
        for name, f, gradient in (
            ('sum', np.sum, np.ones_like(x)),
            ('sin', lambda x: np.sum(np.sin(x)), np.cos(x)),
            ('least squares', lambda x: np.sum((A @ x) ** 2), 2 * A.T @ A @ x),
        ):
            self.assert_numerical(eval_numerical_gradient(f, x, verbose=False), gradient, name)

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
        self.assert_same(x, before)

    def test_rel_error(self):
        for x, y, expected in (
            ([1.0, 2.0], [1.0, 2.0], 0),
            ([1.0, 5.0], [3.0, 5.0], 1 / 2),  # the largest of the elements
            ([1e3, 1e-3], [1e3, 3e-3], 1 / 2),  # each relative to itself
            ([-1.0], [1.0], 1),
            ([0.0], [1e-10], 1e-2),  # relative to 1e-8 at least, so that a rounding error beside 0 is none
            ([], [], 0),
        ):
            self.assert_equal_formulas(rel_error(np.array(x), np.array(y)), expected, f'{x} and {y}')


class TestLinear(GradientTestCase):
    shapes = ((1, 1, 1), (1, 4, 3), (5, 4, 3), (6, 2, 7), (3, 5, 1), (3, 1, 5))  # (B, in, out)

    def module(self, n_in, n_out):
        """With parameters of order one: beside weights of 1e-4, a wrong term in them would not show."""
        module = LinearModule(n_in, n_out)
        module.params = {'weight': self.rng.normal(size=(n_out, n_in)), 'bias': self.rng.normal(size=n_out)}
        return module

    def test_by_the_contract(self):
        self.assert_right('linear.init', 'linear.forward', 'linear.input', 'linear.weight', 'linear.bias')

    def test_gradients_of_inputs_weight_and_bias(self):
        for B, n_in, n_out in self.shapes:
            self.assert_module(self.module(n_in, n_out), self.rng.normal(size=(B, n_in)))


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

    def test_by_the_contract(self):
        self.assert_right('activation.forward', 'activation.input')

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
            with self.subTest(of=type(module).__name__):
                self.assert_equal_formulas(module.forward(x), [values])

    def test_gradient_away_from_the_kink(self):
        """At least 0.1 from 0, where the two sides of a central difference would lie on two branches."""
        for module in self.modules:
            with self.subTest(of=type(module).__name__):
                for shape in ((1, 1), (1, 5), (4, 3)):
                    self.assert_module(module, self.rng.uniform(0.1, 2, shape) * self.rng.choice([-1, 1], shape))

    def test_at_zero_the_derivative_is_that_of_the_negative_side(self):
        for module, slope in zip(self.modules, (0, 0.01, 0.3, 1, 0.5), strict=True):
            for zero in (0.0, -0.0):
                with self.subTest(of=type(module).__name__):
                    self.assert_same(module.forward(np.array([[zero]])), [[0]], 'value at 0')
                    self.assert_same(module.backward(np.array([[2.0]])), [[2 * slope]], 'twice the slope at 0')

    def test_large_inputs(self):
        """exp(1000) overflows, and what np.where leaves out is computed nevertheless."""
        x = np.array([[-1000.0, 1000.0]])
        for module, negative, slope in zip(self.modules, (0, -10, -300, -1, -0.5), (0, 0.01, 0.3, 0, 0), strict=True):
            with self.subTest(of=type(module).__name__), warnings.catch_warnings():
                warnings.simplefilter('error')
                self.assert_equal_formulas(module.forward(x), [[negative, 1000]])
                self.assert_same(module.backward(np.ones((1, 2))), [[slope, 1]], 'slope')


class TestSoftMax(GradientTestCase):
    def test_by_the_contract(self):
        self.assert_right('softmax.forward', 'softmax.stable', 'softmax.input')

    def test_value(self):
        p = self.distributions(4, 3)
        for shift in (0, 5, -700, self.rng.normal(size=(4, 1))):
            self.assert_equal_formulas(SoftMaxModule().forward(np.log(p) + shift), p)

    def test_gradient(self):
        for shape in ((1, 1), (4, 1), (1, 3), (5, 4), (2, 7)):
            self.assert_module(SoftMaxModule(), self.rng.normal(size=shape))


class TestCrossEntropy(GradientTestCase):
    shapes = ((1, 1), (4, 1), (1, 3), (5, 4), (2, 7))  # (B, C)

    def assert_gradient(self, x, y):
        __tracebackhide__ = True
        module = CrossEntropyModule()
        gradient = module.backward(x, y)
        self.assert_gradients('CrossEntropyModule', [gradient], lambda: module.forward(x, y), {'x': x}, 1.0)

    def test_by_the_contract(self):
        self.assert_right('cross_entropy.forward', 'cross_entropy.input')

    def test_value(self):
        x = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]])
        expected = (np.log(4) + np.log(8)) / 2
        self.assert_equal_formulas(CrossEntropyModule().forward(x, np.array([1, 2])), expected)
        self.assert_equal_formulas(CrossEntropyModule().forward(x, np.eye(3)[[1, 2]]), expected)

    def test_value_with_soft_targets(self):
        """Of a distribution with itself, it is the entropy."""
        x = np.array([[0.5, 0.25, 0.25]])
        self.assert_equal_formulas(CrossEntropyModule().forward(x, x), 1.5 * np.log(2))

    def test_gradient_with_one_hot_targets(self):
        for B, C in self.shapes:
            self.assert_gradient(self.distributions(B, C), self.one_hot(B, C))

    def test_gradient_with_soft_targets(self):
        for B, C in self.shapes:
            self.assert_gradient(self.distributions(B, C), self.distributions(B, C))

    def test_gradient_with_integer_targets(self):
        for B, C in self.shapes:
            self.assert_gradient(self.distributions(B, C), self.rng.integers(0, C, B))


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
                self.assert_numerical(gradient, numerical, f'gradient at the logits {x.shape}')
                self.assert_equal_formulas(gradient, (SoftMaxModule().forward(x) - t) / B, '(softmax − t) / B')

    def assert_exact_at_extremes(self, x, softmax):
        """Finite loss, gradient softmax − t, no warning, for every target and in both precisions."""
        __tracebackhide__ = True
        x, softmax = np.array(x), np.array(softmax)
        B, C = x.shape
        targets = [np.eye(C)[np.full(B, label)] for label in range(C)] + [self.distributions(B, C)]
        for dtype in (np.float32, np.float64):
            for t in targets:
                with warnings.catch_warnings():
                    warnings.simplefilter('error')
                    loss, gradient = self.loss_and_gradient(x.astype(dtype), t.astype(dtype))
                what = f'{dtype.__name__}, logits {x.tolist()}'
                self.assertTrue(np.isfinite(loss), f'{what}: the loss is {loss}')
                self.assertEqual(gradient.dtype, dtype)
                # A handful of roundings of numbers up to 1.
                self.assert_close(gradient, (softmax - t) / B, 0, 4 * np.finfo(dtype).eps, f'{what}: gradient')

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
        self.assert_same(loss, 0, 'loss')
        self.assert_same(gradient, np.zeros((2, 1)), 'gradient')


class TestPasses(GradientTestCase):
    """No pass writes into what it is given, or remembers the one before."""

    def test_by_the_contract(self):
        self.assert_right('unchanged_input', 'repeatable')


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
        """{'weight 1': ..., 'bias 1': ..., ...}"""
        layers = enumerate(mlp.linear_layers, 1)
        return {f'{name} {i}': layer.params[name] for i, layer in layers for name in ('weight', 'bias')}

    def test_by_the_contract(self):
        self.assert_right('mlp_numpy.forward', 'mlp_numpy.gradients')

    def test_every_weight_and_bias(self):
        for n_inputs, n_hidden, n_classes in self.networks:
            mlp = self.network(n_inputs, n_hidden, n_classes)
            for B in (1, 6):
                x, t = self.rng.normal(size=(B, n_inputs)), self.one_hot(B, n_classes)
                self.assert_gradients(
                    f'MLP with n_hidden={n_hidden}, B={B}',
                    self.gradients(mlp, x, t),
                    lambda mlp=mlp, x=x, t=t: self.loss(mlp, x, t),
                    self.params(mlp),
                    1.0,
                )

    def test_without_hidden_layers_it_is_logistic_regression(self):
        mlp = self.network(4, [], 3)
        x, t = self.rng.normal(size=(6, 4)), self.one_hot(6, 3)
        W, b = self.params(mlp).values()
        exp = np.exp(x @ W.T + b)
        p = exp / exp.sum(axis=1, keepdims=True)
        dW, db = self.gradients(mlp, x, t)
        self.assert_equal_formulas(mlp.forward(x), p, 'probabilities')
        self.assert_equal_formulas(dW, (p - t).T @ x / 6, 'gradient of weight')
        self.assert_equal_formulas(db, (p - t).mean(axis=0), 'gradient of bias')

    def test_hopelessly_wrong_network_still_learns(self):
        """Logits of ±1e4 and the wrong class: the gradient is that of softmax − t, neither 0 nor infinite."""
        for dtype in (np.float32, np.float64):
            mlp = MLP(2, [], 2, dtype)
            mlp.layers[0].params['weight'] = np.array([[1e4, 0], [0, 1e4]], dtype)
            with warnings.catch_warnings():
                warnings.simplefilter('error')
                x, t = np.array([[1, -1], [-1, 1]], dtype), np.array([[0, 1], [1, 0]], dtype)
                dW, db = self.gradients(mlp, x, t)
            eps = np.finfo(dtype).eps
            self.assert_close(dW, [[1, -1], [-1, 1]], 4 * eps, 0, f'{dtype.__name__}, gradient of weight')
            self.assert_close(db, [0, 0], 0, 4 * eps, f'{dtype.__name__}, gradient of bias')


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
        __tracebackhide__ = True
        expected = tensor.detach().numpy()
        self.assert_close(numpy_array, expected, 0, TWINS * np.abs(expected).max(), what)

    def step(self, ours, theirs, optimizer, x, labels):
        """One step of SGD in both; the losses."""
        cross_entropy = CrossEntropyModule()
        probabilities = ours.forward(x)
        loss = cross_entropy.forward(probabilities, labels)
        ours.backward(cross_entropy.backward(probabilities, labels))
        for layer in ours.linear_layers:
            for name, param in layer.params.items():
                param -= optimizer.param_groups[0]['lr'] * layer.grads[name]

        optimizer.zero_grad()
        loss_of_twin = nn.functional.cross_entropy(theirs(torch.from_numpy(x)), torch.from_numpy(labels))
        loss_of_twin.backward()
        optimizer.step()
        return loss, loss_of_twin

    def test_hundred_steps_of_sgd(self):
        for n_hidden in ([], [9, 7]):
            ours, theirs = self.twins(12, n_hidden, 5)
            optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
            losses = []
            for step in range(100):
                x = self.rng.normal(size=(16, 12))
                loss, loss_of_twin = self.step(ours, theirs, optimizer, x, x[:, :5].argmax(axis=1))
                self.assert_twins(loss, loss_of_twin, f'loss, step {step}')
                for i, (layer, twin) in enumerate(zip(ours.linear_layers, theirs.linear_layers, strict=True), 1):
                    for name in ('weight', 'bias'):
                        tensor = getattr(twin, name)
                        self.assert_twins(layer.grads[name], tensor.grad, f'gradient of {name} {i}, step {step}')
                        self.assert_twins(layer.params[name], tensor, f'{name} {i}, step {step}')
                losses.append(loss)
            self.assertLess(np.mean(losses[-10:]), 0.8 * np.mean(losses[:10]))  # they learn, hand in hand


class TestBatchNorm(GradientTestCase):
    """Question 3 in float64: the equations, and the gradients against central differences and nn.BatchNorm1d."""

    shapes = ((2, 1), (5, 3), (32, 10))  # (B, C)
    versions = (CustomBatchNormAutograd, CustomBatchNormManualModule)

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

    def test_by_the_contract(self):
        self.assert_right(
            'batchnorm_autograd.forward',
            'batchnorm_autograd.gradients',
            'batchnorm_function.forward',
            'batchnorm_function.gradients',
            'batchnorm_function.needs_input_grad',
            'batchnorm_module',
        )

    def test_eps(self):
        """Of 1e-5 by default, beside the variance of 1 that (-1, 1) has."""
        x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
        one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        for eps in ([], [3.0]):
            expected = x.numpy() / np.sqrt(1 + (eps[0] if eps else 1e-5))
            self.assert_equal_formulas(CustomBatchNormManualFunction.apply(x, one, zero, *eps).numpy(), expected)
            for version in self.versions:
                with self.subTest(of=version.__name__):
                    self.assert_equal_formulas(version(1, *eps).double()(x).detach().numpy(), expected, f'eps={eps}')

    def test_gradcheck_and_gradgradcheck(self):
        for n, c in self.shapes:
            x, gamma, beta, _ = (torch.tensor(a, requires_grad=True) for a in self.arrays(n, c))
            for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
                passes = check(CustomBatchNormManualFunction.apply, (x, gamma, beta), raise_exception=False)
                self.assertTrue(passes, f'{check.__name__} of shape {(n, c)}')

    def test_equal_to_torch(self):
        for version in self.versions:
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
                    with self.subTest(of=f'{version.__name__}, {name} of shape {(n, c)}'):
                        self.assert_equal_formulas(a.detach().numpy(), b.detach().numpy())


class TestPyTorchMLP(GradientTestCase):
    """Question 2's network with each batch norm and each activation, from the loss to every parameter."""

    def assert_parameters(self, **options):
        __tracebackhide__ = True
        mlp = mlp_pytorch.MLP(4, [6, 5], 3, **options).double()
        for param in mlp.parameters():
            nn.init.normal_(param)
        x, labels = torch.from_numpy(self.rng.normal(size=(7, 4))), torch.from_numpy(self.rng.integers(0, 3, 7))

        def loss():
            return nn.functional.cross_entropy(mlp(x), labels)

        gradients = torch.autograd.grad(loss(), list(mlp.parameters()))
        variables = {name: param.detach().numpy() for name, param in mlp.named_parameters()}  # they share memory
        self.assert_gradients(f'MLP with {options}', gradients, lambda: loss().detach().numpy(), variables, 1.0)

    def test_by_the_contract(self):
        self.assert_right('mlp_pytorch')

    def test_every_batch_norm(self):
        for batch_norm in ('none', *mlp_pytorch.BATCH_NORMS):
            with self.subTest(of=batch_norm):
                self.assert_parameters(batch_norm=batch_norm, activation='tanh')

    def test_every_activation(self):
        for activation in mlp_pytorch.ACTIVATIONS:
            with self.subTest(of=activation):
                self.assert_parameters(activation=activation)


class TestConvNet(GradientTestCase):
    """Question 4's network, in float64 and in training mode, from the loss to the image and to every parameter."""

    def test_by_the_contract(self):
        self.assert_right('convnet')

    def test_gradients_along_random_directions(self):
        """(L(θ + h v) − L(θ − h v)) / 2h is ∂L/∂θ · v, one number for the parameters of a kind in all layers.

        h is small enough that none of 10⁵ ReLUs and pools changes its side; the loss, after nine layers of roundings,
        is known to 1e-14 or so, which h makes 1e-7.
        """
        h, tolerance = 1e-7, 1e-6
        convnet, labels = ConvNet(3, 10).double(), torch.tensor([3, 8])
        variables = {'x': torch.from_numpy(self.rng.normal(size=(2, 3, 32, 32))).requires_grad_()}
        variables |= convnet.named_parameters()
        kinds = {'x': 'the image'}
        for path, layer in convnet.named_modules():
            kinds |= {
                f'{path}.{name}': f'{name} of {type(layer).__name__}' for name, _ in layer.named_parameters('', False)
            }

        def loss(changed):
            values = variables | changed
            logits = torch.func.functional_call(convnet, values, values.pop('x'))
            return nn.functional.cross_entropy(logits, labels)

        gradients = dict(zip(variables, torch.autograd.grad(loss({}), list(variables.values())), strict=True))
        for kind in sorted(set(kinds.values())):
            v = {name: torch.randn_like(variables[name]) for name in variables if kinds[name] == kind}
            v = {name: direction / direction.norm() for name, direction in v.items()}
            along = sum((gradients[name] * direction).sum() for name, direction in v.items())
            with torch.no_grad():
                above, below = (loss({name: variables[name] + t * v[name] for name in v}).item() for t in (h, -h))
            self.assert_close(along.item(), (above - below) / (2 * h), tolerance, tolerance, f'gradient of {kind}')


if __name__ == '__main__':
    run_in_order()
