"""Modules and MLPs as a user meets them: initialisation, shapes, dtypes, errors. Gradients are unittests.py's part."""

import itertools
import re
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

import mlp_pytorch
from custom_batchnorm import CustomBatchNormAutograd, CustomBatchNormManualModule
from mlp_numpy import MLP
from modules import CrossEntropyModule, ELUModule, LeakyReLUModule, LinearModule, ReLUModule, SoftMaxModule

DTYPES = [np.float32, np.float64]
ACTIVATIONS = [ReLUModule, LeakyReLUModule, ELUModule]
B, N_INPUTS, N_HIDDEN, N_CLASSES = 6, 4, [5, 3], 7

examples = settings(deadline=None)  # a busy machine is no failure
# A logit up to 50 leaves each of 5 probabilities above e^-100 / 5, a normal number in float64.
logits = arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.floats(-50, 50))


def random(*shape, dtype=np.float64):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def with_ordinary_weights(mlp):
    """Weights of order one: with the initial 1e-4 all outputs are nearly alike."""
    for layer in mlp.linear_layers:
        weight = layer.params['weight']
        layer.params['weight'] = random(*weight.shape, dtype=weight.dtype)
    return mlp


def modules(dtype=np.float64):
    """One of each that maps x (B, 4) by forward(x) and takes backward(dout)."""
    return [LinearModule(4, 3, dtype), *(activation() for activation in ACTIVATIONS), SoftMaxModule()]


# Inputs stay as they are


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize('module', modules(), ids=lambda module: type(module).__name__)
def test_module_leaves_its_inputs_alone(module):
    out = module.forward(read_only(random(B, 4)))
    kept = out.copy()
    module.backward(read_only(random(*out.shape)))
    assert np.array_equal(out, kept)


def test_what_a_caller_does_with_probabilities_leaves_their_gradient_alone():
    softmax, x, dout = SoftMaxModule(), random(B, 4), random(B, 4)
    softmax.forward(x)
    expected = softmax.backward(dout)
    out = softmax.forward(x)
    out -= 1
    assert np.array_equal(softmax.backward(dout), expected)


def test_a_perfect_prediction_has_the_loss_zero():
    assert str(CrossEntropyModule().forward(np.eye(3), np.arange(3))) == '0.0'


def test_cross_entropy_leaves_its_inputs_alone():
    x = read_only(np.full((B, 2), 0.5))
    for y in (np.eye(2)[[0, 1] * 3], np.array([0, 1] * 3)):
        CrossEntropyModule().forward(x, read_only(y))
        CrossEntropyModule().backward(x, y)


def test_mlp_leaves_its_inputs_and_parameters_alone():
    mlp = with_ordinary_weights(MLP(N_INPUTS, N_HIDDEN, N_CLASSES))
    before = [param.copy() for layer in mlp.linear_layers for param in layer.params.values()]
    mlp.forward(read_only(random(B, N_INPUTS)))
    mlp.backward(read_only(random(B, N_CLASSES)))
    after = [param for layer in mlp.linear_layers for param in layer.params.values()]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


# Precision


def test_float32_computes_what_float64_does():
    x = random(B, N_INPUTS)
    single, double = (with_ordinary_weights(MLP(N_INPUTS, N_HIDDEN, N_CLASSES, dtype)) for dtype in DTYPES)
    # Logits up to 10, summed in three layers: some tens of roundings of 6e-8.
    np.testing.assert_allclose(single.forward(x.astype(np.float32)), double.forward(x), rtol=1e-5)


# Float32 in, float32 out: one float64 on the way would double the time of all that follows.


@pytest.mark.parametrize('dtype', DTYPES)
def test_results_have_the_dtype_of_inputs_and_parameters(dtype):
    for module in modules(dtype):
        out = module.forward(random(B, 4, dtype=dtype))
        assert [out.dtype, module.backward(out).dtype] == [dtype, dtype], type(module).__name__
        for name, param in getattr(module, 'params', {}).items():
            assert [param.dtype, module.grads[name].dtype] == [dtype, dtype], name


@pytest.mark.parametrize('dtype', DTYPES)
def test_cross_entropy_has_the_dtype_of_the_probabilities_whatever_the_targets(dtype):
    module, x, classes = CrossEntropyModule(), np.full((4, 3), 1 / 3, dtype), np.array([0, 2, 1, 2])
    for y in (classes, np.eye(3)[classes], np.eye(3, dtype=np.float32)[classes], np.eye(3, dtype=int)[classes]):
        assert [module.forward(x, y).dtype, module.backward(x, y).dtype] == [dtype, dtype], y.dtype


@pytest.mark.parametrize('dtype', DTYPES)
def test_mlp_has_one_dtype(dtype):
    mlp = MLP(N_INPUTS, N_HIDDEN, N_CLASSES, dtype)
    probabilities = mlp.forward(random(B, N_INPUTS, dtype=dtype))
    mlp.backward(CrossEntropyModule().backward(probabilities, np.eye(N_CLASSES)[:B]))
    params = [array for layer in mlp.linear_layers for array in (*layer.params.values(), *layer.grads.values())]
    assert {array.dtype for array in (probabilities, *params)} == {np.dtype(dtype)}


# Initialisation


@pytest.mark.parametrize('dtype', DTYPES)
def test_weights_are_drawn_layer_by_layer_from_the_global_state(dtype):
    np.random.seed(42)
    mlp = MLP(N_INPUTS, N_HIDDEN, N_CLASSES, dtype)
    np.random.seed(42)
    for layer, shape in zip(mlp.linear_layers, [(5, 4), (3, 5), (7, 3)], strict=True):
        assert np.array_equal(layer.params['weight'], np.random.normal(0, 1e-4, shape).astype(dtype))
        assert np.array_equal(layer.params['bias'], np.zeros(shape[0]))
        assert {name: grad.shape for name, grad in layer.grads.items()} == {'weight': shape, 'bias': shape[:1]}
        assert not any(grad.any() for grad in layer.grads.values())
        for of_layer in (layer.params, layer.grads):
            assert list(of_layer) == ['weight', 'bias']
            assert {array.dtype for array in of_layer.values()} == {np.dtype(dtype)}
            assert of_layer['weight'].flags.f_contiguous  # columns in one piece, as x Wᵀ reads them


def test_nothing_is_drawn_after_construction():
    mlp = MLP(N_INPUTS, N_HIDDEN, N_CLASSES)
    np.random.seed(0)
    mlp.backward(mlp.forward(random(B, N_INPUTS)))
    after = np.random.rand()
    np.random.seed(0)
    assert after == np.random.rand()


def test_sizes_may_be_numpy_integers():
    mlp = MLP(np.int64(4), [np.int32(5), np.int64(3)], np.uint8(7))
    assert mlp.forward(random(B, 4)).shape == (B, 7)
    torch_mlp = mlp_pytorch.MLP(np.int64(4), [np.int32(5), np.int64(3)], np.uint8(7))
    assert torch_mlp(torch.zeros(B, 4)).shape == (B, 7)


@pytest.mark.parametrize('mlp', [MLP, mlp_pytorch.MLP])
def test_sizes_may_be_one(mlp):
    assert [type(layer).__name__[:6] for layer in mlp(1, [1], 1).linear_layers] == ['Linear'] * 2


@pytest.mark.parametrize('sizes', [(0, [5], 3), (4, [0], 3), (4, [5, -1], 3), (4, [5], 0), (-2, [], 3)])
@pytest.mark.parametrize('mlp', [MLP, mlp_pytorch.MLP])
def test_sizes_must_be_positive(mlp, sizes):
    with pytest.raises(ValueError, match=r'must be positive, got .*(0|-1|-2)'):
        mlp(*sizes)


# Structure of the MLP


@pytest.mark.parametrize(
    ('n_hidden', 'types'),
    [
        ([], [LinearModule, SoftMaxModule]),
        ([5], [LinearModule, ReLUModule, LinearModule, SoftMaxModule]),
        ([5, 3], [LinearModule, ReLUModule, LinearModule, ReLUModule, LinearModule, SoftMaxModule]),
    ],
)
def test_layers_in_order(n_hidden, types):
    mlp = MLP(N_INPUTS, n_hidden, N_CLASSES)
    assert [type(layer) for layer in mlp.layers] == types
    sizes = [N_INPUTS, *n_hidden, N_CLASSES]
    shapes = [layer.params['weight'].shape for layer in mlp.linear_layers]
    assert shapes == list(zip(sizes[1:], sizes[:-1], strict=True))
    assert mlp.linear_layers == mlp.layers[::2]


def test_forward_and_backward_visit_the_layers_in_turn():
    mlp = with_ordinary_weights(MLP(N_INPUTS, N_HIDDEN, N_CLASSES))
    x, dout = random(B, N_INPUTS), random(B, N_CLASSES)
    out = x
    for layer in mlp.layers:
        out = layer.forward(out)
    for layer in reversed(mlp.layers):
        dout = layer.backward(dout)
    expected = [layer.grads['weight'] for layer in mlp.linear_layers]
    assert np.array_equal(mlp.forward(x), out)
    mlp.backward(random(B, N_CLASSES))
    for layer, grad in zip(mlp.linear_layers, expected, strict=True):
        assert grad.any()
        assert np.array_equal(layer.grads['weight'], grad)


@pytest.mark.parametrize('n_hidden', [[], [5], [5, 3]])
def test_no_gradient_is_computed_for_the_images(n_hidden, monkeypatch):
    """Nor is any other left out."""
    returned = []
    backward = LinearModule.backward

    def spy(self, *args, **kwargs):
        returned.append(backward(self, *args, **kwargs))
        return returned[-1]

    monkeypatch.setattr(LinearModule, 'backward', spy)
    mlp = MLP(N_INPUTS, n_hidden, N_CLASSES)
    mlp.forward(random(B, N_INPUTS))
    assert mlp.backward(random(B, N_CLASSES)) is None
    assert [dx is None for dx in returned] == [False] * len(n_hidden) + [True]


def test_images_are_flattened():
    mlp = with_ordinary_weights(MLP(3 * 32 * 32, [5], N_CLASSES))
    images, dout = random(B, 3, 32, 32), random(B, N_CLASSES)
    results = []
    for x in (images, images.reshape(B, -1)):
        out = mlp.forward(x)
        mlp.backward(dout)
        results.append([out, *(layer.grads[name] for layer in mlp.linear_layers for name in ('weight', 'bias'))])
    for of_images, of_rows in zip(*results, strict=True):
        assert np.array_equal(of_images, of_rows)
    # In PyTorch too. Float32 sums of 3072 terms of order one, ordered differently for different strides at most.
    twin = mlp_pytorch.MLP(3 * 32 * 32, [5], N_CLASSES, init='xavier')
    images = torch.from_numpy(images.astype(np.float32))
    torch.testing.assert_close(twin(images), twin(images.reshape(B, -1)))


@pytest.mark.parametrize('input_gradient', [True, False])
def test_the_parameters_get_the_same_with_and_without_the_gradient_of_the_input(input_gradient):
    module, x, dout = LinearModule(4, 3), random(B, 4), random(B, 3)
    module.forward(x)
    module.grads = {}
    dx = module.backward(dout, input_gradient=input_gradient)
    assert np.array_equal(module.grads['weight'], (x.T @ dout).T)
    assert np.array_equal(module.grads['bias'], dout.sum(axis=0))
    assert (dx is not None) == input_gradient


# Values at the edges


def test_elu_keeps_its_digits_beside_zero():
    """exp(x) − 1 would lose all of them."""
    x = np.array([[-1e-12]])
    np.testing.assert_allclose(ELUModule().forward(x), x + 0.5e-24, rtol=1e-15)


def test_classes_and_one_hot_rows_of_any_type_are_the_same_targets():
    x, classes, one_hot = SoftMaxModule().forward(random(4, 3)), np.array([0, 2, 1, 2]), np.eye(3)[[0, 2, 1, 2]]
    module = CrossEntropyModule()
    for y in (classes.astype(np.uint8), classes.tolist(), one_hot.astype(int), one_hot.astype(np.float32)):
        assert module.forward(x, y) == module.forward(x, one_hot)
        assert np.array_equal(module.backward(x, y), module.backward(x, one_hot))


@pytest.mark.parametrize('dtype', DTYPES)
def test_probability_of_zero_counts_as_the_smallest(dtype):
    module, t = CrossEntropyModule(), np.array([0, 1])
    x, tiny = np.array([[0, 1], [1, 0]], dtype), np.finfo(dtype).tiny / np.finfo(dtype).eps
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        np.testing.assert_allclose(module.forward(x, t), -np.log(tiny), rtol=4 * np.finfo(dtype).eps)
        expected = [[-0.5 / tiny, 0], [0, -0.5 / tiny]]
        np.testing.assert_allclose(module.backward(x, t), expected, rtol=4 * np.finfo(dtype).eps)


# Errors name what was expected and what came. Most wrong shapes would broadcast.


def assert_refused(message, function, *args, error=ValueError):
    """The text from beginning to end: half a message sends people to look in the wrong place."""
    with pytest.raises(error, match=f'^{re.escape(message)}$'):
        function(*args)


def test_linear_refuses_sizes_and_shapes():
    for n_in, n_out in ((0, 3), (4, 0), (-1, -2)):
        message = f'in_features and out_features must be positive, got {n_in} and {n_out}'
        assert_refused(message, LinearModule, n_in, n_out)
    module = LinearModule(4, 3)
    for shape in ((5, 3), (5, 5), (4,), (5, 4, 1)):
        assert_refused(f'x must have shape (B, 4), got {shape}', module.forward, np.zeros(shape))
    module.forward(np.zeros((5, 4)))
    for shape in ((5, 4), (1, 3), (3,), ()):
        assert_refused(f'dout must have shape (5, 3), got {shape}', module.backward, np.zeros(shape))


@pytest.mark.parametrize('dtype', [np.int64, np.uint8, bool, complex, object])
def test_parameters_that_are_no_floats_are_refused(dtype):
    """Weights of 1e-4 would all be 0, and stay so."""
    message = f'dtype must be float32 or float64, got {np.dtype(dtype)}'
    assert_refused(message, LinearModule, 4, 3, dtype, error=TypeError)
    assert_refused(message, MLP, 6, [5], 3, dtype, error=TypeError)


def test_activations_refuse_shapes_and_whole_numbers():
    for module in (activation() for activation in ACTIVATIONS):
        for x, expected in ((np.zeros((5, 3)), '(5, 3)'), (np.zeros(5), '(5,)')):
            module.forward(x)
            for shape in ((5, 1), (1,), ()):
                assert_refused(f'dout must have shape {expected}, got {shape}', module.backward, np.zeros(shape))
    for module in (LeakyReLUModule(), ELUModule()):  # a whole slope would be 0
        message = 'x must be float32 or float64, got int64'
        assert_refused(message, module.forward, np.array([-1, 2], np.int64), error=TypeError)


def test_softmax_refuses_shapes():
    module = SoftMaxModule()
    for shape in ((3,), (5, 3, 1), ()):
        assert_refused(f'x must have shape (B, C), got {shape}', module.forward, np.zeros(shape))
    module.forward(np.zeros((5, 3)))
    for shape in ((5, 1), (1, 3), (3,)):
        assert_refused(f'dout must have shape (5, 3), got {shape}', module.backward, np.zeros(shape))


@pytest.mark.parametrize('dtype', ['float16', 'int64'])
def test_probabilities_of_other_numbers_than_float32_and_float64_are_refused(dtype):
    message = f'probabilities must be float32 or float64, got {dtype}'
    assert_refused(message, SoftMaxModule().forward, np.zeros((2, 3), dtype), error=TypeError)
    ones, classes = np.ones((2, 3), dtype), np.array([0, 1])
    assert_refused(message, CrossEntropyModule().forward, ones, classes, error=TypeError)


def test_cross_entropy_names_the_type_of_classes_that_are_no_integers():
    x, module = np.full((3, 4), 0.25), CrossEntropyModule()
    for method, dtype in itertools.product((module.forward, module.backward), ('float64', 'bool')):
        assert_refused(f'classes must be integers, got {dtype}', method, x, np.zeros(3, dtype), error=TypeError)


def test_cross_entropy_refuses_shapes_and_classes():
    x, module = np.full((3, 4), 0.25), CrossEntropyModule()
    for method in (module.forward, module.backward):
        assert_refused('x must have shape (B, C), got (4,)', method, x[0], np.zeros(4, int))
        for y, message in (
            (np.zeros((3, 1)), 'y must have shape (3, 4), got (3, 1)'),
            (np.zeros((1, 4), int), 'y must have shape (3, 4), got (1, 4)'),
            (np.zeros(1, int), 'y must have shape (3,), got (1,)'),
            (np.array([0, 4, 1]), 'classes must lie in 0 ... 3, got 0 ... 4'),
            (np.array([3, -1, 0]), 'classes must lie in 0 ... 3, got -1 ... 3'),  # -1 would be the last
        ):
            assert_refused(message, method, x, y)
        method(x, np.array([0, 3, 3]))


def test_mlp_refuses_wrong_shapes():
    mlp = MLP(12, [5], 3)
    for shape in ((B, 11), (B, 3, 2, 3)):
        with pytest.raises(ValueError, match=r'x must have shape \(B, 12\), got \(6, 1[18]\)'):
            mlp.forward(np.zeros(shape))
    with pytest.raises(ValueError, match=r'x must have shape \(B, 12\), got \(1,\)'):
        mlp.forward(np.array(1.0))
    for shape in ((0, 12), (0, 3, 2, 2), (B, 3, 2, 2)):
        assert mlp.forward(np.zeros(shape)).shape == (shape[0], 3)
    with pytest.raises(ValueError, match=r'dout must have shape \(6, 3\), got \(6, 4\)'):
        mlp.backward(np.zeros((B, 4)))


# Properties


@examples
@given(logits, st.floats(-1e3, 1e3))
def test_softmax_gives_distributions_and_ignores_a_shift(x, shift):
    out = SoftMaxModule().forward(x)
    assert np.all(out > 0)
    # Sums of at most 5 terms; an exponent of up to 1050 is rounded by 1e-13, and so is its exponential, relatively.
    np.testing.assert_allclose(out.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(SoftMaxModule().forward(x + shift), out, rtol=1e-12)


@examples
@given(logits)
def test_softmax_keeps_the_order(x):
    out = SoftMaxModule().forward(x)
    sorted_by_logit = np.take_along_axis(out, x.argsort(axis=1), axis=1)
    assert np.all(np.diff(sorted_by_logit, axis=1) >= -1e-15)  # a few ε: exp is rounded


@examples
@given(logits)
def test_softmax_gradient_sums_to_zero(x):
    """As moving all logits together changes nothing."""
    module = SoftMaxModule()
    module.forward(x)
    np.testing.assert_allclose(module.backward(np.sin(x)).sum(axis=1), 0, atol=1e-14)


@examples
@given(logits)
def test_rows_do_not_see_each_other(x):
    for module in (*(activation() for activation in ACTIVATIONS), SoftMaxModule()):
        out = module.forward(x)
        # One row and many, or another memory order, may take different vector instructions.
        np.testing.assert_allclose(module.forward(x[::-1]), out[::-1], rtol=1e-14)
        np.testing.assert_allclose(np.concatenate([module.forward(row[None]) for row in x]), out, rtol=1e-14)


def test_cross_entropy_keeps_nothing():
    module, x = CrossEntropyModule(), SoftMaxModule().forward(random(B, 3))
    y, other = np.array([0, 1, 2, 2, 1, 0]), np.array([1, 2])
    loss, gradient = module.forward(x, y), module.backward(x, y)
    module.forward(x[:2], other)
    assert np.array_equal(module.backward(x, y), gradient)
    module.backward(x[:2], other)
    assert module.forward(x, y) == loss
    assert vars(module) == {}


# The PyTorch MLP


def types(mlp):
    return [type(layer) for layer in mlp.layers]


def test_torch_layers_in_order_and_logits():
    mlp = mlp_pytorch.MLP(N_INPUTS, N_HIDDEN, N_CLASSES)
    assert types(mlp) == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert types(mlp_pytorch.MLP(N_INPUTS, [], N_CLASSES)) == [nn.Linear]
    out = mlp_pytorch.MLP(N_INPUTS, N_HIDDEN, N_CLASSES, init='xavier')(torch.randn(B, N_INPUTS))
    assert out.shape == (B, N_CLASSES)
    assert (out < 0).any()  # logits, not probabilities


def test_torch_default_is_the_plain_network():
    mlp = mlp_pytorch.MLP(
        N_INPUTS, N_HIDDEN, N_CLASSES, batch_norm='none', dropout=0.0, activation='relu', init='normal'
    )
    assert types(mlp) == types(mlp_pytorch.MLP(N_INPUTS, N_HIDDEN, N_CLASSES))


def test_torch_parameters_are_counted_as_numpys():
    def count(mlp):
        return sum(parameter.numel() for parameter in mlp.parameters())

    # 3072·100 + 100 + 100·10 + 10; a batch norm adds gamma and beta.
    assert count(mlp_pytorch.MLP(3072, [100], 10)) == 308_310
    assert count(mlp_pytorch.MLP(3072, [100], 10, batch_norm='manual')) == 308_510
    numpy_mlp = MLP(3072, [100], 10)
    assert sum(param.size for layer in numpy_mlp.linear_layers for param in layer.params.values()) == 308_310


def test_torch_and_numpy_draw_the_same_weights():
    np.random.seed(42)
    ours = MLP(N_INPUTS, N_HIDDEN, N_CLASSES, np.float32)
    np.random.seed(42)
    theirs = mlp_pytorch.MLP(N_INPUTS, N_HIDDEN, N_CLASSES)
    for layer, twin in zip(ours.linear_layers, theirs.linear_layers, strict=True):
        assert np.array_equal(layer.params['weight'], twin.weight.detach().numpy())
        assert np.array_equal(layer.params['bias'], twin.bias.detach().numpy())


@pytest.mark.parametrize(
    ('batch_norm', 'module'),
    [('torch', nn.BatchNorm1d), ('autograd', CustomBatchNormAutograd), ('manual', CustomBatchNormManualModule)],
)
def test_torch_batch_norm_stands_before_the_activation(batch_norm, module):
    np.random.seed(0)
    torch.manual_seed(0)
    mlp = mlp_pytorch.MLP(N_INPUTS, N_HIDDEN, N_CLASSES, batch_norm=batch_norm)
    assert types(mlp) == [nn.Linear, module, nn.ReLU] * 2 + [nn.Linear]
    hidden = []
    mlp.layers[1].register_forward_hook(lambda module, inputs, out: hidden.append(out))
    mlp(100 * torch.randn(50, N_INPUTS) + 7)
    # Float32 sums of 50 terms; eps of 1e-5 beside a variance of (100 · 1e-4)² = 1e-4 leaves 0.9 of it, or so.
    torch.testing.assert_close(hidden[0].mean(0), torch.zeros(5), rtol=0, atol=1e-5)
    assert torch.all(hidden[0].var(0) > 0.5)


def test_torch_dropout_acts_in_training_alone():
    torch.manual_seed(0)
    mlp = mlp_pytorch.MLP(N_INPUTS, [1000], N_CLASSES, dropout=0.25, init='xavier')
    assert types(mlp) == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    x, hidden = torch.randn(B, N_INPUTS), []
    mlp.layers[2].register_forward_hook(lambda module, inputs, out: hidden.append((inputs[0], out)))
    mlp.train()
    assert not torch.equal(mlp(x), mlp(x))
    before, after = hidden[-1]
    dropped = (after[before > 0] == 0).float().mean().item()
    assert dropped == pytest.approx(0.25, abs=0.04)  # some 3000 draws: five standard deviations of 0.008
    mlp.eval()
    assert torch.equal(mlp(x), mlp(x))
    assert torch.equal(*hidden[-1])


@pytest.mark.parametrize(
    ('activation', 'expected'),
    [
        ('relu', lambda x: np.maximum(x, 0)),
        ('leaky_relu', lambda x: np.where(x > 0, x, 0.01 * x)),
        ('elu', lambda x: np.where(x > 0, x, np.expm1(x))),
        ('gelu', lambda x: x * np.array([(1 + torch.erf(torch.tensor(v / 2**0.5))).item() / 2 for v in x])),
        ('silu', lambda x: x / (1 + np.exp(-x))),
        ('tanh', np.tanh),
    ],
)
def test_torch_activations(activation, expected):
    mlp = mlp_pytorch.MLP(N_INPUTS, N_HIDDEN, N_CLASSES, activation=activation)
    x = np.linspace(-3, 3, 13)
    for layer in mlp.layers[1::2]:
        np.testing.assert_allclose(layer(torch.from_numpy(x)).numpy(), expected(x), rtol=1e-12, atol=1e-15)


def test_every_torch_activation_and_initialisation_is_tested_here():
    assert set(mlp_pytorch.ACTIVATIONS) == {'relu', 'leaky_relu', 'elu', 'gelu', 'silu', 'tanh'}
    assert set(mlp_pytorch.INITS) == {'normal', 'pytorch', 'xavier', 'kaiming'}
    assert set(mlp_pytorch.BATCH_NORMS) == {'torch', 'autograd', 'manual'}


@pytest.mark.parametrize(
    ('init', 'std'),
    [
        ('normal', 1e-4),
        ('pytorch', (1 / (3 * 500)) ** 0.5),  # uniform in ±1/sqrt(in)
        ('xavier', (2 / (500 + 400)) ** 0.5),
        ('kaiming', (2 / 500) ** 0.5),
    ],
)
def test_torch_initialisations(init, std):
    torch.manual_seed(0)
    np.random.seed(0)
    layer = mlp_pytorch.MLP(500, [400], N_CLASSES, init=init).linear_layers[0]
    # 200,000 draws: the deviation is known to one part in 600, standard error.
    assert layer.weight.std().item() == pytest.approx(std, rel=0.01)
    assert abs(layer.weight.mean().item()) < 0.01 * std
    assert not layer.bias.any()
    # A uniform distribution ends at sqrt(3) deviations; of 200,000 normal draws, 13 lie beyond 4, and none beyond 7.
    low, high = (1.7, 1.74) if init == 'pytorch' else (4, 7)
    assert low < layer.weight.abs().max().item() / std < high


def test_no_gradient_is_subnormal_when_probabilities_underflow():
    """Processors multiply subnormal numbers up to a hundred times slower."""
    softmax, cross_entropy = SoftMaxModule(), CrossEntropyModule()
    for dtype in (np.float32, np.float64):
        x = np.array([[0.0, -90.0, -750.0]] * 200, dtype)
        probabilities = softmax.forward(x)
        dx = softmax.backward(cross_entropy.backward(probabilities, np.zeros(200, int)))
        assert np.all((dx == 0) | (np.abs(dx) >= np.finfo(dtype).tiny))


@pytest.mark.parametrize(
    ('option', 'known'),
    [
        ('batch_norm', ['none', *mlp_pytorch.BATCH_NORMS]),
        ('activation', mlp_pytorch.ACTIVATIONS),
        ('init', mlp_pytorch.INITS),
    ],
)
def test_unknown_option_of_the_pytorch_mlp_is_named_with_the_known_ones(option, known):
    with pytest.raises(ValueError) as error:
        mlp_pytorch.MLP(4, [3], 2, **{option: 'nonsense'})
    assert str(error.value) == f'expected one of {", ".join(known)}, got nonsense'


def test_a_network_takes_over_the_parameters_of_another():
    x = np.random.default_rng(0).normal(size=(5, 4))
    one, other = MLP(4, [3, 3], 2), MLP(4, [3, 3], 2)
    assert not np.array_equal(one.forward(x), other.forward(x))
    one.load_state_dict(other.state_dict())
    assert np.array_equal(one.forward(x), other.forward(x))
    other.linear_layers[0].params['bias'] += 1
    assert not np.array_equal(one.forward(x), other.forward(x))  # they share no memory


def test_parameters_of_another_shape_are_refused():
    """A single row, too, which NumPy would repeat."""
    state = MLP(4, [1], 2).state_dict()
    with pytest.raises(ValueError, match=r'^expected weight of shape \(3, 4\), got \(1, 4\)$'):
        MLP(4, [3], 2).load_state_dict(state)
