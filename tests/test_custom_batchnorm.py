"""Question 3 as a user meets it: shapes and errors, precision, what is saved for backward, autocast, torch.compile."""

import re
import shutil
from itertools import product
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from custom_batchnorm import CustomBatchNormAutograd, CustomBatchNormManualFunction, CustomBatchNormManualModule

VERSIONS = [CustomBatchNormAutograd, CustomBatchNormManualModule]
NAMES = ('out', 'dx', 'dgamma', 'dbeta')
batch_norm = CustomBatchNormManualFunction.apply


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def example(n=64, c=8, dtype=torch.float32):
    """x, gamma, beta that require grad, with columns of different mean and scale, and dout."""
    x = torch.randn(n, c, dtype=dtype) * torch.linspace(0.5, 3, c, dtype=dtype) + torch.randn(c, dtype=dtype)
    gamma, beta = 1 + torch.rand(c, dtype=dtype), torch.randn(c, dtype=dtype)
    return *(t.requires_grad_() for t in (x, gamma, beta)), torch.randn(n, c, dtype=dtype)


def results(forward, inputs, dout):
    """The output and the gradients of all inputs."""
    out = forward(*inputs)
    return [out.detach(), *torch.autograd.grad(out, inputs, dout)]


def through_module(version):
    """version as a function of x, gamma, beta."""

    def forward(x, gamma, beta):
        names = ('weight', 'bias') if version is nn.BatchNorm1d else ('gamma', 'beta')
        module = version(len(gamma)).to(gamma.dtype)
        return torch.func.functional_call(module, dict(zip(names, (gamma, beta), strict=True)), x)

    return forward


def assert_all_close(actual, expected, rtol, atol):
    for name, a, b in zip(NAMES, actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol, msg=lambda text, name=name: f'{name}: {text}')


# The module


@pytest.mark.parametrize('version', VERSIONS)
def test_parameters_start_as_plain_normalisation(version):
    module = version(7)
    assert {name: tuple(p.shape) for name, p in module.named_parameters()} == {'gamma': (7,), 'beta': (7,)}
    assert torch.equal(module.gamma, torch.ones(7))
    assert torch.equal(module.beta, torch.zeros(7))
    out = module(3 + 5 * torch.randn(1000, 7))
    # Sums of 1000 float32 terms; eps takes 1e-5 / 25 off the variance.
    torch.testing.assert_close(out.mean(0), torch.zeros(7), rtol=0, atol=1e-5)
    torch.testing.assert_close(out.var(0, correction=0), torch.ones(7), rtol=0, atol=1e-5)


@pytest.mark.parametrize('version', VERSIONS)
def test_eval_mode_uses_the_batch_too(version):
    module, x = version(4), 10 + torch.randn(20, 4)
    assert torch.equal(module.train()(x), module.eval()(x))
    assert not list(module.buffers())


@pytest.mark.parametrize('version', VERSIONS)
def test_constant_column_gives_beta_and_finite_gradients(version):
    _, gamma, beta, dout = example()
    x = torch.full((64, 8), 3.0, requires_grad=True)
    out, *gradients = results(through_module(version), (x, gamma, beta), dout)
    torch.testing.assert_close(out, beta.detach().expand(64, 8))
    assert all(g.isfinite().all() for g in gradients)


def test_function_checks_and_defaults():
    x, gamma, beta, _ = example()
    with pytest.raises(ValueError, match=r'expected input of shape \(B, 8\), got \(64, 3\)'):
        batch_norm(x[:, :3], gamma, beta)
    assert torch.equal(batch_norm(x, gamma, beta), batch_norm(x, gamma, beta, 1e-5))
    assert not torch.equal(batch_norm(x, gamma, beta), batch_norm(x, gamma, beta, 1e-2))


def assert_refused(message, function, *args, error=ValueError):
    with pytest.raises(error, match=f'^{re.escape(message)}$'):
        function(*args)


@pytest.mark.parametrize('forward', [*(version(4) for version in VERSIONS), lambda x: batch_norm(x, *torch.eye(4)[:2])])
def test_input_is_refused_by_its_shape_its_size_and_its_dtype(forward):
    for shape in ((5, 3), (4,), (5, 4, 1)):
        assert_refused(f'expected input of shape (B, 4), got {shape}', forward, torch.zeros(shape))
    for n in (0, 1):
        message = f'expected a batch of 2 or more to take a variance over, got {n}'
        assert_refused(message, forward, torch.zeros(n, 4))
    message = 'expected floating-point input, got torch.uint8'
    assert_refused(message, forward, torch.zeros(5, 4, dtype=torch.uint8), error=TypeError)


def test_gamma_and_beta_of_a_wrong_shape_are_refused():
    x, gamma, beta, _ = example(3, 3)
    for g, b in ((gamma[:, None], beta[:, None]), (gamma, beta.expand(3, 3)), (gamma[None], beta)):
        message = f'expected gamma and beta of one shape (C,), got {tuple(g.shape)} and {tuple(b.shape)}'
        assert_refused(message, batch_norm, x, g, b)


@pytest.mark.parametrize('version', VERSIONS)
def test_repr_names_size_and_eps(version):
    assert repr(version(1)) == f'{version.__name__}(1, eps=1e-05)'
    assert repr(version(1, 3.0)) == f'{version.__name__}(1, eps=3.0)'


# Values


@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize('shape', [(2, 1), (200, 100), (1000, 33)])
def test_equal_to_torch_in_float32(version, shape):
    *inputs, dout = example(*shape)
    # A sum of N terms of order one errs by up to N eps, whatever its order; the rest is a few eps of numbers below 50.
    assert_all_close(
        results(through_module(version), inputs, dout),
        results(through_module(nn.BatchNorm1d), inputs, dout),
        rtol=1e-5,
        atol=1e-5 + shape[0] * torch.finfo(torch.float32).eps,
    )


@pytest.mark.parametrize('version', VERSIONS)
def test_large_mean_small_deviation(version):
    """Mean 1e4, deviation 1: in float32 E[x²] - E[x]² is off by some 10, or negative."""
    _, gamma, beta, dout = example(8192, 16)
    x = (1e4 + torch.randn(8192, 16)).requires_grad_()
    actual = results(through_module(version), (x, gamma, beta), dout)
    exact = results(
        through_module(nn.BatchNorm1d), [t.detach().double().requires_grad_() for t in (x, gamma, beta)], dout.double()
    )
    # float32 numbers near 1e4 are 1e-3 apart, so the mean is uncertain by delta = 1e-3, and with it x_hat, of which
    # dgamma = Σ dout x_hat sees delta Σ dout.
    delta = 1e-3
    tolerances = delta * gamma.max(), delta, delta * dout.sum(0).abs().max(), 1e-3
    for name, a, b, tolerance in zip(NAMES, actual, exact, tolerances, strict=True):
        assert (a - b).abs().max() <= tolerance, name


@pytest.mark.parametrize('layout', ['transposed', 'strided', 'expanded dout'])
def test_non_contiguous(layout):
    x, gamma, beta, dout = example(dtype=torch.float64)
    expected_dout = dout
    if layout == 'transposed':
        view, dout = x.detach().t().contiguous().t(), dout.t().contiguous().t()
    elif layout == 'strided':
        view = torch.stack([x.detach(), torch.full_like(x, torch.nan)], dim=2)[:, :, 0]
    else:
        view, dout = x.detach(), dout[:1].expand_as(x)
        expected_dout = dout.contiguous()
    assert not (view.is_contiguous() and dout.is_contiguous())
    assert_all_close(
        results(batch_norm, (view.requires_grad_(), gamma, beta), dout),
        results(batch_norm, (x, gamma, beta), expected_dout),
        rtol=1e-12,  # the order of the sums may differ
        atol=1e-12,
    )


@pytest.fixture
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def test_bit_deterministic(two_threads):
    *inputs, dout = example(2048, 256)  # large enough for both
    first = results(batch_norm, inputs, dout)
    for _ in range(5):
        assert all(torch.equal(a, b) for a, b in zip(first, results(batch_norm, inputs, dout), strict=True))


# The manual backward


def test_saves_one_matrix_and_vectors():
    n, c = 64, 8
    *inputs, _ = example(n, c)
    saved = []

    def pack(tensor):
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = batch_norm(*inputs)
    assert sorted(tuple(t.shape) for t in saved if t.shape != (c,)) == [(n, c)]
    # Nothing hides outside save_for_backward.
    assert not [name for name, value in vars(out.grad_fn).items() if isinstance(value, torch.Tensor)]


def manual_backward(inputs, dout, needed):
    out = batch_norm(*inputs)
    saved = out.grad_fn.saved_tensors
    ctx = SimpleNamespace(saved_tensors=saved, eps=1e-5, needs_input_grad=(*needed, False))
    with torch.no_grad():
        return CustomBatchNormManualFunction.backward(ctx, dout)


def test_backward_computes_only_what_is_needed():
    class CountOperations(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += 1
            return func(*args, **(kwargs or {}))

    def operations(*needed):
        *inputs, dout = example()
        with CountOperations() as mode:
            batch_norm(*inputs)
            forward = mode.count
            manual_backward(inputs, dout, needed)
        return mode.count - 2 * forward  # manual_backward runs forward once more

    assert operations(False, False, True) < operations(False, True, False) < operations(True, False, False)
    assert operations(False, True, True) < operations(True, True, True)


@pytest.mark.parametrize('needed', list(product((False, True), repeat=3)))
def test_gradients_asked_for_one_by_one(needed):
    """Each is the same whatever else is asked for, and None if it is not."""
    *inputs, dout = example(5, 3, torch.float64)
    together = manual_backward(inputs, dout, (True, True, True))
    for gradient, expected, need in zip(manual_backward(inputs, dout, needed), together, (*needed, False), strict=True):
        assert torch.equal(gradient, expected) if need else gradient is None


def test_each_pass_takes_one_matrix_of_memory():
    """On a CPU the page faults of a second one would cost more than the arithmetic."""
    kept = []  # all that operations return, so that no memory is used twice

    class Keep(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            kept.append(func(*args, **(kwargs or {})))
            return kept[-1]

    def matrices(tensors):
        return {t.untyped_storage().data_ptr() for t in tensors if getattr(t, 'shape', None) == (5, 3)}

    *inputs, dout = example(5, 3)
    with Keep():
        out = batch_norm(*inputs)
    assert len(matrices(kept) - matrices(inputs)) == 1
    known = matrices([*kept, *inputs, dout])
    with Keep():
        torch.autograd.grad(out, inputs, dout)
    assert len(matrices(kept) - known) == 1


@pytest.mark.parametrize('frozen', ['x', 'gamma', 'beta'])
def test_frozen_input(frozen):
    x, gamma, beta, dout = example()
    inputs = {'x': x, 'gamma': gamma, 'beta': beta}
    _, *full = results(batch_norm, tuple(inputs.values()), dout)
    inputs[frozen] = inputs[frozen].detach()
    batch_norm(*inputs.values()).backward(dout)
    for (name, tensor), expected in zip(inputs.items(), full, strict=True):
        assert tensor.grad is None if name == frozen else torch.equal(tensor.grad, expected)


def test_gradient_penalty_equals_torch():
    """The gradient of |∂L/∂x|² at x, gamma and beta: double backward as it is used in training."""

    def penalty(forward):
        x, gamma, beta, _ = inputs = example(dtype=torch.float64)
        (dx,) = torch.autograd.grad(forward(x, gamma, beta).sin().sum(), x, create_graph=True)
        return torch.autograd.grad(dx.square().sum(), inputs[:3])

    torch.manual_seed(1)
    ours = penalty(batch_norm)
    torch.manual_seed(1)
    theirs = penalty(through_module(nn.BatchNorm1d))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)  # some thousands of roundings of 1e-16


def test_first_backward_is_the_same_with_create_graph():
    *inputs, dout = example(dtype=torch.float64)
    _, *plain = results(batch_norm, inputs, dout)
    graph = torch.autograd.grad(batch_norm(*inputs), inputs, dout, create_graph=True)
    for a, b in zip(graph, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)


def test_inputs_are_not_modified():
    *inputs, dout = example()
    before = [t.detach().clone() for t in (*inputs, dout)]
    results(batch_norm, inputs, dout)
    assert all(torch.equal(a, b) for a, b in zip(before, (*inputs, dout), strict=True))


def test_output_may_be_modified_in_place():
    *inputs, dout = example()
    assert_all_close(
        results(lambda *inputs: batch_norm(*inputs).relu_(), inputs, dout),
        results(lambda *inputs: batch_norm(*inputs).relu(), inputs, dout),
        rtol=0,
        atol=0,
    )


# Precision and compilation


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_keeps_its_statistics_in_float32(dtype):
    """A mean near 100 would be off by up to 0.03 in float16, by 0.25 in bfloat16."""
    x, gamma, beta, dout = (t.detach() for t in example(500, 4))
    half = (100 + x).to(dtype), gamma, beta, dout.to(dtype)

    def results_of(x, gamma, beta, dout):
        inputs = [x.requires_grad_(), gamma, beta]
        return [batch_norm(*inputs).detach(), *manual_backward(inputs, dout, (True, True, True))[:3]]

    exact = results_of(*(t.double() for t in half))
    for name, a, b in zip(NAMES, results_of(*half), exact, strict=True):
        expected_dtype = dtype if name in ('out', 'dx') else torch.float32
        assert a.dtype == expected_dtype, name
        # The last rounding is that of the result; before it, sums of 500 float32 terms of order one.
        torch.testing.assert_close(a.double(), b, rtol=torch.finfo(expected_dtype).eps, atol=2e-4)


def test_autocast_between_linear_layers():
    network = nn.Sequential(nn.Linear(20, 8), CustomBatchNormManualModule(8), nn.ReLU(), nn.Linear(8, 3))
    x = torch.randn(64, 20)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        hidden = network[:2](x)
        loss = network[2:](hidden).float().square().mean()
    assert hidden.dtype == torch.bfloat16
    loss.backward()
    gradients = [p.grad for p in network.parameters()]
    network.zero_grad()
    network(x).square().mean().backward()
    for gradient, parameter in zip(gradients[2:], list(network.parameters())[2:], strict=True):
        assert gradient.dtype == torch.float32
        # bfloat16 keeps 8 bits: some 1% of the largest entry after two layers.
        assert (gradient - parameter.grad).abs().max() <= 0.03 * parameter.grad.abs().max()


@pytest.mark.filterwarnings('ignore')  # the compiler's own
@pytest.mark.parametrize('backend', ['aot_eager', 'inductor'])
def test_compile(backend):
    if backend == 'inductor' and not (shutil.which('g++') or shutil.which('clang++')):
        pytest.skip('torch.compile needs a C++ compiler on the CPU')
    *inputs, dout = example()
    torch.compiler.reset()
    compiled = torch.compile(batch_norm, fullgraph=True, backend=backend)
    # A few float32 roundings of sums of 64 terms of order one.
    assert_all_close(results(compiled, inputs, dout), results(batch_norm, inputs, dout), rtol=1e-5, atol=1e-5)
