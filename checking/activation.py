"""activation.forward and activation.input, for whichever of ReLU, LeakyReLU and ELU the solution has written."""

import inspect
from types import SimpleNamespace

import numpy as np

from . import formulas
from .compare import agree, as_array, numeric_gradient, require, rng
from .solution import ALPHA, SLOPE, activations, backward, build, run, slope_of
from .verdicts import Missing, Note, is_unwritten

ASKED = {'neg_slope': SLOPE, 'negative_slope': SLOPE, 'slope': SLOPE, 'alpha': ALPHA, 'a': ALPHA}
SHAPES = [(5, 4), (1, 3)]


def each(solution, check):
    """check(kind, cls) for each activation; one that is not written is passed over if another one is."""
    notes, unwritten = [], []
    for kind, cls in activations(solution).items():
        try:
            notes.append(check(kind, cls))
        except Exception as error:
            if not (isinstance(error, Missing) or is_unwritten(error)):
                raise
            unwritten.append(error)
    if not notes:
        raise unwritten[0]
    return next((note for note in notes if note), None)


def value(kind, x, slope):
    """The activation by the contract."""
    negative = {'relu': 0, 'leaky_relu': slope * x, 'elu': slope * np.expm1(np.minimum(x, 0))}[kind]
    return np.where(x > 0, x, negative)


def draw(kind, cls, shape):
    """The case, with their module: entries are of order one and none near the kink."""
    r = rng(len(shape) + shape[0])
    x = r.choice([-1, 1], shape) * r.uniform(0.2, 2, shape)
    x[0, 0], x[0, -1] = abs(x[0, 0]), -abs(x[0, -1])
    module = build(cls, **ASKED)
    default = {'relu': 0.0, 'leaky_relu': 0.01, 'elu': 1.0}[kind]
    asked = [ASKED[name] for name in inspect.signature(cls).parameters if name in ASKED]
    slope = 0.0 if kind == 'relu' else asked[0] if asked else slope_of(module, default)
    left = {'relu': np.zeros(shape), 'leaky_relu': np.full(shape, slope), 'elu': slope * np.exp(x)}[kind]
    derivative = np.where(x > 0, 1, left)
    out = value(kind, x, slope)
    c = SimpleNamespace(B=shape[0], kind=kind, x=x, dout=r.normal(size=shape), slope=slope, default=default)
    c.with_slope = lambda s: value(kind, x, s)
    return module, SimpleNamespace(**vars(c), left=left, derivative=derivative, out=out)


def forward_of(kind, cls):
    for shape in SHAPES:
        module, c = draw(kind, cls, shape)
        theirs = as_array(run(module, c.x.copy()), shape, f'{cls.__name__}.forward')
        rights = [c.out]
        if kind == 'elu':
            rights += [c.with_slope(c.default), c.with_slope(slope_of(module, c.default))]
        if kind == 'leaky_relu':  # a slope that no attribute tells is what it is, as long as it is one
            slope = theirs[0, -1] / c.x[0, -1]
            if 0 < slope < 1 and not vars(module):
                rights.append(c.with_slope(slope))
        require(theirs, rights, formulas.ACTIVATION_FORWARD, c, f'{cls.__name__}.forward')
    with np.errstate(all='ignore'):
        large = np.asarray(run(build(cls, **ASKED), np.array([[800.0, -800.0]])), np.float64)
    if not np.all(np.isfinite(large)):
        return Note(f'{cls.__name__} gives {large[0, 0]:g} for an input of 800')


def input_of(kind, cls):
    for shape in SHAPES:
        module, c = draw(kind, cls, shape)
        if np.shape(run(module, c.x.copy())) != shape:
            raise Missing('cannot be judged before activation.forward is right')
        numeric = numeric_gradient(lambda x, module=module: run(module, x), c.x, c.dout)
        module, _ = draw(kind, cls, shape)
        run(module, c.x.copy())
        theirs = as_array(backward(module, c.dout.copy()), shape, f'{cls.__name__}.backward')
        require(theirs, [c.dout * c.derivative, numeric], formulas.ACTIVATION_INPUT, c, f'{cls.__name__}.backward')
    if kind == 'elu':
        return None
    module, _ = draw(kind, cls, (1, 2))
    run(module, np.zeros((1, 2)))
    at_zero = np.asarray(backward(module, np.array([[1.0, 2.0]])), np.float64)
    if agree(at_zero, [[1.0, 2.0]]):
        return Note('legal, but PyTorch differs in one point', f'{cls.__name__} has a derivative of 1 at 0')


def activation_forward(solution):
    return each(solution, forward_of)


def activation_input(solution):
    return each(solution, input_of)
