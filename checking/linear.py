"""linear.init, linear.forward, linear.input, linear.weight, linear.bias."""

import inspect
from types import SimpleNamespace

import numpy as np

from . import formulas
from .compare import agree, as_array, explain, numeric_gradient, require, rng
from .layout import Linear
from .solution import backward, build, run
from .verdicts import Crashed, Missing, Note, Wrong, is_unwritten

SIZES = [(5, 4, 3), (1, 4, 3)]  # batch, inputs, outputs: no two agree
SQUARE = (4, 4, 4)  # where transposes compute
PARTS = ('input', 'weight', 'bias')


def draw(B, n_in, n_out):
    """Random arrays of order one for a layer of these sizes."""
    r = rng(B)
    arrays = {'x': (B, n_in), 'W': (n_out, n_in), 'b': (n_out,), 'dout': (B, n_out)}
    return SimpleNamespace(B=B, n_in=n_in, n_out=n_out, **{k: r.normal(size=shape) for k, shape in arrays.items()})


def class_of(solution):
    return solution.find('modules', 'LinearModule', 'Linear', 'LinearLayer')


def stored_in_out(solution):
    """Whether weights are stored as (in, out)."""
    return Linear(build(class_of(solution), 4, 3), 4, 3).is_in_out


def layer(solution, c):
    """Their layer with the case's parameters."""
    linear = Linear(build(class_of(solution), c.n_in, c.n_out), c.n_in, c.n_out, stored_in_out(solution))
    linear.set(c.W, c.b)
    return linear


def spreads(cls, n_in):
    """The right standard deviations: 0.0001, or Kaiming's in the editions whose layers know whether they are first."""
    return ((2 / n_in) ** 0.5, n_in**-0.5) if 'input_layer' in inspect.signature(cls).parameters else (1e-4,)


def linear_init(solution):
    n_in, n_out = 300, 200
    np.random.seed(0)
    linear = Linear(build(class_of(solution), n_in, n_out), n_in, n_out)
    W, b = np.asarray(linear.params[linear.weight], np.float64), linear.params[linear.bias]
    std, expected = W.std(), spreads(class_of(solution), n_in)
    if not any(abs(std / value - 1) < 0.05 for value in expected):
        known = [
            (1e-2, 'that is the root of 0.0001: it is the standard deviation, not the variance'),
            (1e-8, 'that is the square of 0.0001: it is the standard deviation already'),
            (n_in**-0.5, 'that is 1/√in'),
            ((2 / n_in) ** 0.5, "that is √(2/in), He's initialisation"),
            ((2 / (n_in + n_out)) ** 0.5, "that is Glorot's initialisation"),
            (1, 'the factor 0.0001 is missing'),
            (1e-4 * 12**-0.5, 'they are uniform, not normal'),
        ]
        hint = next((text for value, text in known if abs(std / value - 1) < 0.05), '')
        raise Wrong(f'the weights have the standard deviation {std:.3g}, expected {expected[0]:.3g}', hint)
    z = (W - W.mean()) / std
    if abs(W.mean()) > 5 * std / W.size**0.5:
        raise Wrong(f'the weights have the mean {W.mean():.3g}, expected 0')
    if abs(np.mean(z**4) - 3) > 0.3 and len(expected) == 1:  # Kaiming's has a uniform form too
        raise Wrong('the weights are not drawn from a normal distribution')
    if np.any(b):
        raise Wrong(f'the bias starts at {np.abs(b).max():.3g}, expected 0')
    for name in ('weight', 'bias'):
        try:
            if np.any(linear.grad(name)):
                return Note(f"grads['{name}'] does not start at zero")
        except (Missing, Wrong):
            return Note(f"grads['{name}'] does not start as zeros of its shape")


def linear_forward(solution):
    for sizes in SIZES:
        c = draw(*sizes)
        out = as_array(run(layer(solution, c).module, c.x.copy()), (c.B, c.n_out), 'forward')
        require(out, [c.x @ c.W.T + c.b], formulas.LINEAR_FORWARD, c, 'forward')


def gradients(solution, c):
    """What backward gives for each part: an array, or the exception on the way to it."""
    linear = layer(solution, c)
    run(linear.module, c.x.copy())
    found, dx, error = {}, None, None
    for name in ('weight', 'bias'):
        key = getattr(linear, name)
        if linear.grads is not linear.params and isinstance(linear.grads.get(key), np.ndarray):
            linear.grads[key] = np.zeros_like(linear.params[key])
    try:
        dx = backward(linear.module, c.dout.copy())
    except Exception as raised:
        error = raised
    for name in ('weight', 'bias'):
        try:
            found[name] = linear.grad(name)
        except (Missing, Wrong) as reason:
            found[name] = reason
    try:
        found['input'] = error or as_array(dx, (c.B, c.n_in), 'backward')
    except (Missing, Wrong) as reason:
        found['input'] = reason
    return found, error


def truths(solution, c):
    """For each part, the gradient by the contract and that of their own forward pass by central differences."""
    exact = {'input': c.dout @ c.W, 'weight': c.dout.T @ c.x, 'bias': c.dout.sum(0)}
    linear = layer(solution, c)

    def out(x=c.x, W=c.W, b=c.b):
        linear.set(W, b)
        return run(linear.module, x.copy())

    differences = {
        'input': lambda: numeric_gradient(lambda x: out(x=x), c.x, c.dout),
        'weight': lambda: numeric_gradient(lambda W: out(W=W), c.W, c.dout),
        'bias': lambda: numeric_gradient(lambda b: out(b=b), c.b, c.dout),
    }
    rights = {}
    for name in PARTS:
        try:
            rights[name] = [exact[name], differences[name]()]
        except Exception:
            rights[name] = [exact[name]]  # the fault of forward, which has an item of its own
    return rights


WRONG_FORMULAS = {
    'input': formulas.LINEAR_INPUT,
    'weight': formulas.LINEAR_WEIGHT,
    'bias': formulas.LINEAR_BIAS,
}


def after_a_crash(solution, name, error):
    """Whose fault it is that backward raised: told by equal sizes, with which a wrong product computes all the same."""
    c = draw(*SQUARE)
    try:
        found, again = gradients(solution, c)
    except Exception:
        found, again = {}, error
    rights = truths(solution, c)
    bad = [
        part for part in PARTS if not (isinstance(found.get(part), np.ndarray) and agree(found[part], *rights[part]))
    ]
    if again is None and name in bad and isinstance(found[name], np.ndarray):
        raise Crashed(error, explain(found[name], rights[name][0], WRONG_FORMULAS[name], c))
    if name == 'input' and bad in ([], ['input']):
        raise Crashed(error)
    if name in bad and 'input' not in bad:
        raise Crashed(error)
    if name not in bad:
        return Note('right with equal sizes; with others, backward stops for another part')
    if name == 'input':
        raise Crashed(error)
    raise Missing('cannot be judged: backward stops before it')


def part(solution, name):
    for sizes in SIZES:
        c = draw(*sizes)
        found, error = gradients(solution, c)
        rights = truths(solution, c)
        theirs = found[name]
        if error is not None and not (isinstance(theirs, np.ndarray) and agree(theirs, *rights[name])):
            if is_unwritten(error):
                raise error
            return after_a_crash(solution, name, error)
        if isinstance(theirs, Exception):
            raise theirs
        require(theirs, rights[name], WRONG_FORMULAS[name], c, 'the gradient')


def linear_input(solution):
    return part(solution, 'input')


def linear_weight(solution):
    return part(solution, 'weight')


def linear_bias(solution):
    return part(solution, 'bias')
