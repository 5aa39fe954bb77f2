"""softmax.forward, softmax.stable, softmax.input, cross_entropy.forward, cross_entropy.input."""

from types import SimpleNamespace

import numpy as np

from . import formulas
from .compare import agree, as_array, error, explain, numeric_gradient, require, rng
from .solution import backward, build, run
from .verdicts import Crashed, Missing, Note, Wrong, is_unwritten

SIZES = [(5, 4), (1, 3)]  # batch, classes
SQUARE = (4, 4)
SMALL_EPS = [10.0**-k for k in range(5, 17)]  # inside a logarithm they guard against log 0 and change next to nothing


def softmax(x):
    with np.errstate(all='ignore'):  # whatever a solution has set
        e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def draw(B, C):
    r = rng(B)
    x, dout = r.normal(size=(B, C)), r.normal(size=(B, C))
    labels = r.permutation(np.arange(B) % C)
    p = softmax(x)
    return SimpleNamespace(B=B, C=C, x=x, dout=dout, p=p, labels=labels, t=np.eye(C)[labels])


def softmax_module(solution):
    return build(solution.find('modules', 'SoftMaxModule', 'SoftMax'))


def softmax_forward(solution):
    for sizes in SIZES:
        c = draw(*sizes)
        out = as_array(run(softmax_module(solution), c.x.copy()), (c.B, c.C), 'forward')
        require(out, [c.p], formulas.SOFTMAX_FORWARD, c, 'forward')


def own_forward(solution, x):
    """Their softmax of x; Missing if it has another shape, which softmax.forward tells."""
    out = np.array(run(softmax_module(solution), x.copy()), np.float64)
    if out.shape != x.shape:
        raise Missing('cannot be judged before softmax.forward is right')
    return out


def softmax_stable(solution):
    """Logits far from zero, and rows far from each other."""
    x = draw(5, 4).x
    rows = np.array([1000, -1000, 0, 500, -300])[:, None]
    cases = [
        (x + 1000, 'logits near 1000', 'exp overflows: subtract the maximum of each row first'),
        (x - 1000, 'logits near −1000', 'all exponentials are 0: subtract the maximum of each row first'),
        (x + rows, 'rows far from each other', "subtract each row's own maximum, not that of the whole batch"),
        (1000 * x, 'logits far from each other', 'exp overflows: subtract the maximum of each row first'),
    ]
    for logits, what, hint in cases:
        with np.errstate(all='ignore'):
            out = own_forward(solution, logits)
            usual = np.asarray(run(softmax_module(solution), x.copy()), np.float64)
        expected = softmax(logits)
        if error(out, expected) < 1e-5:
            continue
        if agree(out, usual) or (np.all(np.isfinite(out)) and error(usual, softmax(x)) > 1e-5):
            return Note('no overflow; its values are the matter of softmax.forward')
        raise Wrong(f'{what}: {np.sum(~np.isfinite(out)) or "some"} of {out.size} entries are wrong', hint)


def softmax_input(solution):
    def pair(c):
        module = softmax_module(solution)
        own = own_forward(solution, c.x)
        run(module, c.x.copy())
        theirs = backward(module, c.dout.copy())
        by_own_output = exact_softmax(SimpleNamespace(p=own, dout=c.dout))
        numeric = numeric_gradient(lambda x: run(module, x), c.x, c.dout)
        return as_array(theirs, (c.B, c.C), 'backward'), [numeric, by_own_output]

    for sizes in SIZES:
        c = draw(*sizes)
        theirs, own = with_hint(pair, c, exact_softmax, formulas.SOFTMAX_INPUT)
        require(theirs, [exact_softmax(c), *own], formulas.SOFTMAX_INPUT, c, 'the gradient')


def exact_softmax(c):
    return c.p * (c.dout - (c.p * c.dout).sum(1, keepdims=True))


def with_hint(pair, c, exact, wrong):
    """pair(c); if that raises for shapes, Crashed with what equal sizes tell about it."""
    try:
        return pair(c)
    except (ValueError, IndexError) as raised:
        hint = ''
        try:
            square = draw(*SQUARE)
            hint = explain(pair(square)[0], exact(square), wrong, square)
        except Exception:
            hint = ''
        raise Crashed(raised, hint) from raised


def cross_entropy(solution):
    return build(solution.find('modules', 'CrossEntropyModule', 'CrossEntropy', 'CrossEntropyLoss'))


def losses(solution, c, method):
    """The result for one-hot labels and for integer ones; what raises is left out, unless both do."""
    results, errors = [], []
    for y in (c.t, c.labels):
        try:
            results.append((method(cross_entropy(solution), y.copy()), y))
        except Exception as raised:
            if is_unwritten(raised):
                raise
            errors.append(raised)
    if not results:
        raise errors[0]
    return results


def scalar(value):
    """A loss as an array without dimensions; Wrong if it is several numbers."""
    if np.size(value) != 1:
        hint = 'the loss is the mean over the batch: one number'
        raise Wrong(f'forward returns an array of the shape {np.shape(value)}, expected a number', hint)
    return as_array(np.reshape(value, ()), (), 'forward')


def cross_entropy_forward(solution):
    note = None
    for sizes in SIZES:
        c = draw(*sizes)
        right = -np.sum(c.t * np.log(c.p)) / c.B
        found = losses(solution, c, lambda module, y, c=c: run(module, c.p.copy(), y))
        values = [value for value, _ in found]
        if any(np.size(value) == 1 and agree(scalar(value), right) for value in values):
            continue
        theirs = scalar(values[0])
        for eps in SMALL_EPS:
            if agree(theirs, -np.sum(c.t * np.log(c.p + eps)) / c.B):
                note = Note(f'with an epsilon of {eps:g} inside the logarithm: harmless')
                break
        else:
            require(theirs, [right], formulas.CROSS_ENTROPY_FORWARD, c, 'the loss')
    return note


def cross_entropy_input(solution):
    for sizes in SIZES:
        c = draw(*sizes)
        exact = -c.t / c.p / c.B

        def gradient(module, y, c=c):
            run(module, c.p.copy(), y.copy())
            return backward(module, c.p.copy(), y)

        found = losses(solution, c, gradient)
        if all(theirs is None for theirs, _ in found):
            raise Missing('backward returns None: not written yet')
        if any(
            agree(theirs, exact, tolerance=1e-3) and accepted(theirs, c) for theirs, _ in found if theirs is not None
        ):
            continue
        theirs, y = found[0]
        theirs = as_array(theirs, (c.B, c.C), 'backward')
        rights = [exact]
        try:
            own = cross_entropy(solution)
            rights.append(numeric_gradient(lambda p, own=own, y=y: scalar(run(own, p, y.copy())), c.p, np.array(1.0)))
        except Exception:
            rights = [exact]  # the fault of forward, which has an item of its own
        require(theirs, rights, formulas.CROSS_ENTROPY_INPUT, c, 'the gradient')


def accepted(theirs, c):
    """Whether it is the gradient, but for an epsilon in the denominator that only guards against a division by 0."""
    return agree(theirs, -c.t / c.p / c.B, *(-c.t / (c.p + eps) / c.B for eps in SMALL_EPS))
