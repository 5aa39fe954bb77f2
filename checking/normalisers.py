"""Their batch normalisations, with gamma and beta wherever they are, and the numbers to judge them by."""

import inspect
from types import SimpleNamespace

import numpy as np
import torch

from .compare import as_array, rng
from .solution import build
from .verdicts import Note, Wrong, is_unwritten

EPS = 0.3  # large enough to see where it stands
SIZES = [(6, 4), (3, 2)]
NAMES = {'gamma': ('gam', 'weight', 'scale'), 'beta': ('bet', 'bias', 'shift')}


def draw(B, C, dtype=torch.float64, eps=EPS):
    """Columns of different mean and spread, with the results by the contract: out, and dx, dgamma, dbeta for dout."""
    r = rng(B)
    x = r.normal(size=(B, C)) * r.uniform(0.5, 2, C) + r.normal(size=C)
    gamma, beta, dout = r.normal(size=C), r.normal(size=C), r.normal(size=(B, C))
    c = SimpleNamespace(B=B, x=x, gamma=gamma, beta=beta, dout=dout, eps=eps, dtype=dtype)
    c.tolerance = 1e-6 if dtype == torch.float64 else 1e-4
    c.x_c = x - x.mean(0)
    c.var = x.var(0)
    c.rstd = (c.var + eps) ** -0.5
    c.x_hat = c.x_c * c.rstd
    c.out = gamma * c.x_hat + beta
    c.dgamma, c.dbeta = (dout * c.x_hat).sum(0), dout.sum(0)
    c.dx = gamma * c.rstd * (dout - c.dbeta / B - c.x_hat * c.dgamma / B)
    return c


def tensor(array, dtype, requires_grad=False):
    return torch.tensor(np.asarray(array), dtype=dtype, requires_grad=requires_grad)


def autograd_class(solution):
    return solution.find('custom_batchnorm', 'CustomBatchNormAutograd')


def function_class(solution):
    return solution.find('custom_batchnorm', 'CustomBatchNormManualFunction')


def module_class(solution):
    return solution.find('custom_batchnorm', 'CustomBatchNormManualModule')


def vectors(module, C):
    """Their tensors of C numbers by name, registered or not."""
    found = dict(module.named_parameters())
    for name, value in vars(module).items():
        inner = value.items() if isinstance(value, dict) else [(name, value)]
        found |= {str(k): v for k, v in inner if isinstance(v, torch.Tensor)}
    return {name: v for name, v in found.items() if v.numel() == C and v.is_floating_point()}


def gamma_and_beta(module, C):
    """Their gamma and beta: by name, else by the ones and zeros that they start with."""
    found, result = vectors(module, C), {}
    for which, parts in NAMES.items():
        named = [v for name, v in found.items() if any(part in name.lower() for part in parts)]
        start = [v for v in found.values() if torch.all(v == (1 if which == 'gamma' else 0))]
        if candidates := named or start:
            result[which] = candidates[0]
    if len(result) < 2:
        raise Wrong(f'there is no {"gamma" if "gamma" not in result else "beta"} of {C} numbers in the module')
    return result['gamma'], result['beta']


def normaliser(cls, c):
    """Their module with the case's parameters, which are returned too. The second argument is eps by any name."""
    known = {'eps', 'epsilon'} & set(names := list(inspect.signature(cls).parameters))
    module = build(cls, c.x.shape[1], **dict.fromkeys(known or names[1:2], c.eps))
    module.to(c.dtype)
    try:
        gamma, beta = gamma_and_beta(module, c.x.shape[1])
    except Wrong:
        as_array(module(tensor(c.x, c.dtype)), c.x.shape, 'forward')  # which may not be written either
        raise
    for theirs, value in [(gamma, c.gamma), (beta, c.beta)]:
        theirs.data = tensor(value, c.dtype).reshape(theirs.shape)
    return module, gamma, beta


def in_float64_or_32(check, solution):
    """The check in float64; in float32 if their code is made for that alone."""
    for dtype in (torch.float64, torch.float32):
        try:
            for sizes in SIZES:
                check(solution, draw(*sizes, dtype))
        except RuntimeError as error:
            if is_unwritten(error) or dtype == torch.float32 or 'dtype' not in type_words(error):
                raise
        else:
            return None if dtype == torch.float64 else Note('works in float32 alone')


def type_words(error):
    """'dtype' if the exception complains about a mixture of precisions."""
    text = str(error).lower()
    return 'dtype' if any(word in text for word in ('dtype', 'double', 'float', 'type')) else ''


def unregistered(cls):
    """A Note if an optimiser would not see gamma and beta."""
    module = build(cls, 4)
    gamma, beta = gamma_and_beta(module, 4)
    known = {id(p) for p in module.parameters()}
    if id(gamma) not in known or id(beta) not in known:
        return Note('parameters() does not know gamma or beta: an optimiser would not train them')
