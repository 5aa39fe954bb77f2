"""batchnorm_autograd.*, batchnorm_function.*, batchnorm_module, and unchanged_input for batch normalisation."""

import numpy as np
import torch

from . import batchnorm_formulas as formulas
from .compare import agree, as_array, numeric_gradient, require
from .normalisers import (
    autograd_class,
    draw,
    function_class,
    in_float64_or_32,
    module_class,
    normaliser,
    tensor,
    unregistered,
)
from .verdicts import CRASH, Missing, Wrong, told_by


def forward_of(cls):
    def check(solution, c):
        module, _, _ = normaliser(cls(solution), c)
        out = as_array(module(tensor(c.x, c.dtype)), c.x.shape, 'forward')
        require(out, [c.out], formulas.FORWARD, c, 'forward')

    return check


def gradients_through(call, c, gamma, beta):
    """Gradients at x, gamma and beta of Σ call(x) · dout."""
    x = tensor(c.x, c.dtype, requires_grad=True)
    out = call(x)
    wanted = {'x': x, 'gamma': gamma, 'beta': beta}
    for name, value in wanted.items():
        if not value.requires_grad:
            raise Wrong(f'{name} gets no gradient', 'it is a plain tensor: nn.Parameter makes it one that learns')
    if not out.requires_grad:
        raise Wrong('the result is cut off from its arguments: no gradient reaches them', 'detach, .data or no_grad?')
    grads = torch.autograd.grad(out, list(wanted.values()), tensor(c.dout, c.dtype), allow_unused=True)
    return dict(zip(wanted, grads, strict=True))


def judge_gradients(found, c, forward):
    """Wrong unless each is the gradient by the contract, or that of their own forward: forward(x, gamma, beta)."""
    own = {
        'x': lambda: numeric_gradient(lambda x: forward(x, c.gamma, c.beta), c.x, c.dout),
        'gamma': lambda: numeric_gradient(lambda g: forward(c.x, g, c.beta), c.gamma, c.dout),
        'beta': lambda: numeric_gradient(lambda b: forward(c.x, c.gamma, b), c.beta, c.dout),
    }
    exact = {'x': c.dx, 'gamma': c.dgamma, 'beta': c.dbeta}
    gamma, beta = (a if a is None else a.detach().numpy().ravel() for a in (found['gamma'], found['beta']))
    are_exchanged = agree(gamma, c.dbeta) and agree(beta, c.dgamma)
    for name, theirs in found.items():
        rights = [exact[name], by_own_output(forward, c)[name]]
        if c.dtype == torch.float64:
            rights.append(own[name]())
        if theirs is None:
            theirs = np.zeros_like(exact[name])  # what None means, and right if forward does not use it
        theirs = as_array(theirs, theirs.shape, name)
        if name != 'x' and theirs.size == exact[name].size:
            theirs = theirs.reshape(exact[name].shape)
        theirs = as_array(theirs, exact[name].shape, f'the gradient of {name}')
        if are_exchanged and name == 'gamma' and not agree(theirs, *rights):
            hint = "backward returns them in the order of forward's arguments"
            raise Wrong('the gradients of gamma and beta are exchanged', hint)
        require(theirs, rights, formulas.GRADIENTS[name], c, f'the gradient of {name}')


def by_own_output(forward, c):
    """The closed form with the normalised input that their forward has: a wrong variance is forward's fault alone."""
    with np.errstate(all='ignore'):
        x_hat = (np.asarray(forward(c.x, c.gamma, c.beta), np.float64) - c.beta) / c.gamma
        dgamma = (c.dout * x_hat).sum(0)
        dx = c.gamma * x_hat / c.x_c * (c.dout - c.dbeta / c.B - x_hat * dgamma / c.B)
    return {'x': dx, 'gamma': dgamma, 'beta': c.dbeta}


def batchnorm_autograd_forward(solution):
    return in_float64_or_32(forward_of(autograd_class), solution)


def batchnorm_autograd_gradients(solution):
    def check(solution, c):
        with told_by('batchnorm_autograd.forward', solution):
            module, gamma, beta = normaliser(autograd_class(solution), c)
        found = gradients_through(module, c, gamma, beta)

        def forward(x, g, b):
            for theirs, value in [(gamma, g), (beta, b)]:
                theirs.data.copy_(tensor(value, c.dtype).reshape(theirs.shape))
            return module(tensor(x, c.dtype)).detach().numpy()

        judge_gradients(found, c, forward)

    note = in_float64_or_32(check, solution)
    return note or unregistered(autograd_class(solution))


def applied(solution, c, x, gamma, beta):
    return function_class(solution).apply(x, gamma, beta, c.eps)


def batchnorm_function_forward(solution):
    def check(solution, c):
        out = applied(solution, c, *(tensor(a, c.dtype) for a in (c.x, c.gamma, c.beta)))
        require(as_array(out, c.x.shape, 'forward'), [c.out], formulas.FORWARD, c, 'forward')

    return in_float64_or_32(check, solution)


def batchnorm_function_gradients(solution):
    def check(solution, c):
        gamma, beta = (tensor(a, c.dtype, requires_grad=True) for a in (c.gamma, c.beta))
        found = gradients_through(lambda x: applied(solution, c, x, gamma, beta), c, gamma, beta)
        judge_gradients(found, c, lambda *a: applied(solution, c, *(tensor(v, c.dtype) for v in a)).numpy())

    return in_float64_or_32(check, solution)


def batchnorm_function_needs_input_grad(solution):
    """backward has to give None for an input that needs no gradient."""
    cls, returned = function_class(solution), []
    if 'backward' not in vars(cls):
        raise Missing('CustomBatchNormManualFunction has no backward')
    theirs = vars(cls)['backward']
    function = theirs.__func__ if isinstance(theirs, staticmethod) else theirs

    def recording(ctx, *dout):
        result = function(ctx, *dout)
        returned.append(result)
        return result

    def check(solution, c):
        for needs in [(True, False, False), (False, True, False), (False, False, True)]:
            inputs = [tensor(a, c.dtype, requires_grad=n) for a, n in zip((c.x, c.gamma, c.beta), needs, strict=True)]
            returned.clear()
            applied(solution, c, *inputs).backward(tensor(c.dout, c.dtype))
            for name, need, grad in zip(('input', 'gamma', 'beta'), needs, returned[-1], strict=False):
                if need and grad is None:
                    with told_by('batchnorm_function.gradients', solution):
                        raise Wrong(f'backward gives None for {name}, which needs a gradient')
                if not need and grad is not None:
                    hint = f'ask ctx.needs_input_grad[{("input", "gamma", "beta").index(name)}] first'
                    raise Wrong(f'backward computes the gradient of {name}, which nobody needs', hint)

    try:
        cls.backward = staticmethod(recording)
        return in_float64_or_32(check, solution)
    finally:
        cls.backward = theirs


def batchnorm_module(solution):
    def check(solution, c):
        module, gamma, beta = normaliser(module_class(solution), c)
        out = as_array(module(tensor(c.x, c.dtype)), c.x.shape, 'forward')
        g, b = (tensor(a, c.dtype, requires_grad=True) for a in (c.gamma, c.beta))
        own_out, own_grads = None, {}
        try:  # their function's own mistakes have items of their own
            own_out = applied(solution, c, tensor(c.x, c.dtype), g, b).detach().numpy()
            own_grads = gradients_through(lambda x: applied(solution, c, x, g, b), c, g, b)
        except Exception:
            own_grads = {}
        require(out, [c.out] if own_out is None else [c.out, own_out], formulas.FORWARD, c, 'forward')
        if not own_grads and solution.verdicts.get('batchnorm_function.gradients') == CRASH:
            raise Missing('cannot be judged before batchnorm_function.gradients works')
        found = gradients_through(module, c, gamma, beta)
        exact = {'x': c.dx, 'gamma': c.dgamma, 'beta': c.dbeta}
        for name, grad in found.items():
            own = own_grads.get(name)
            if grad is None:
                if own_grads and own is None:
                    continue
                raise Wrong(f'no gradient reaches {name}')
            rights = [exact[name]] if own is None else [exact[name], own.detach().numpy().reshape(exact[name].shape)]
            theirs = grad.detach().numpy().astype(np.float64).reshape(exact[name].shape)
            require(theirs, rights, formulas.GRADIENTS[name], c, f'the gradient of {name}')

    note = in_float64_or_32(check, solution)
    return note or unregistered(module_class(solution))


ITEMS = {
    autograd_class: ('batchnorm_autograd.forward', 'batchnorm_autograd.gradients'),
    function_class: ('batchnorm_function.forward', 'batchnorm_function.gradients'),
    module_class: ('batchnorm_function.forward', 'batchnorm_function.gradients', 'batchnorm_module'),
}


def unchanged_input(solution):
    """Forward and backward passes of the three leave x, gamma, beta and dout as they are."""
    c, judged = draw(6, 4, torch.float32), 0
    for cls in (autograd_class, function_class, module_class):
        given = {name: tensor(getattr(c, name), c.dtype) for name in ('x', 'gamma', 'beta', 'dout')}
        if any(solution.verdicts.get(item) == CRASH for item in ITEMS[cls]):
            continue  # it may hang, and has been told
        try:
            if cls is function_class:
                tracked = [given[n].detach().requires_grad_() for n in ('x', 'gamma', 'beta')]  # of the same storage
                out = function_class(solution).apply(*tracked, c.eps)
            else:
                out = normaliser(cls(solution), c)[0](given['x'].detach().requires_grad_())
            out.backward(given['dout'])
        except Exception:
            continue  # another item tells
        judged += 1
        for name, value in given.items():
            if not torch.equal(value, tensor(getattr(c, name), c.dtype)):
                hint = f'it works in place on {name}'
                raise Wrong(f'{cls(solution).__name__} writes into {name}', hint)
    if not judged:
        raise Missing('cannot be judged: no batch normalisation runs yet')
