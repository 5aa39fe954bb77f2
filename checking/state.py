"""unchanged_input and repeatable, for the modules in NumPy: what a pass may not do to its arguments, or remember."""

import numpy as np

from . import activation, linear, loss, mlp_numpy
from .compare import agree
from .solution import activations, backward, build, run
from .verdicts import CRASH, Missing, Wrong

ITEMS = {
    'LinearModule': ('linear.forward', 'linear.input', 'linear.weight', 'linear.bias'),
    'activation': ('activation.forward', 'activation.input'),
    'SoftMaxModule': ('softmax.forward', 'softmax.input'),
    'CrossEntropyModule': ('cross_entropy.forward', 'cross_entropy.input'),
    'MLP': ('linear.forward', 'activation.forward', 'softmax.forward', 'mlp_numpy.forward', 'mlp_numpy.gradients'),
}


def passes(solution):
    """(name, new module, arguments of forward, of backward) of each module that is there."""
    c, p = linear.draw(5, 4, 3), loss.draw(5, 4)
    m = mlp_numpy.draw(5, 4, (7, 6), 3)
    makers = [('LinearModule', lambda: linear.layer(solution, c).module, (c.x,), (c.dout,))]
    try:
        for kind, cls in activations(solution).items():
            _, a = activation.draw(kind, cls, (5, 4))
            makers.append((cls.__name__, lambda cls=cls: build(cls, **activation.ASKED), (a.x,), (a.dout,)))
    except (Exception, SystemExit):
        pass  # activation.forward tells
    makers.append(('SoftMaxModule', lambda: loss.softmax_module(solution), (p.x,), (p.dout,)))
    for y in (p.t, p.labels):
        makers.append(('CrossEntropyModule', lambda: loss.cross_entropy(solution), (p.p, y), (p.p, y)))
    makers.append(('MLP', lambda: mlp_numpy.network(solution, m)[0], (m.x,), (m.dout,)))
    return makers


def working(solution):
    """Those of `passes` whose module can be made and whose passes run; Missing if there is none."""
    found = []
    for name, make, given, dgiven in passes(solution):
        if any(solution.verdicts.get(item) == CRASH for item in ITEMS.get(name, ITEMS['activation'])):
            continue  # it may hang, and has been told
        try:
            module = make()
            run(module, *(a.copy() for a in given))
            backward(module, *(a.copy() for a in dgiven))
        except (Exception, SystemExit):
            continue  # another item tells
        found.append((name, make, given, dgiven))
    if not found:
        raise Missing('cannot be judged: no module runs yet')
    return found


def unchanged_input(solution):
    for name, make, given, dgiven in working(solution):
        module = make()
        for method, call, arguments in [('forward', run, given), ('backward', backward, dgiven)]:
            copies = [a.copy() for a in arguments]
            call(module, *copies)
            for which, before, after in zip(names(method, arguments), arguments, copies, strict=True):
                if not np.array_equal(before, after):
                    hint = f'it works in place on {which}: copy it first, or write x * mask for x[mask] = 0'
                    raise Wrong(f'{name}.{method} writes into its argument {which}', hint)


def names(method, arguments):
    return ('x', 'y') if len(arguments) == 2 else ('x',) if method == 'forward' else ('dout',)


def repeatable(solution):
    for name, make, given, dgiven in working(solution):
        module = make()

        def both(module=module, given=given, dgiven=dgiven):
            out = np.array(run(module, *(a.copy() for a in given)))
            return [out, *results(module, dgiven)]

        first = both()
        again = results(module, dgiven)  # backward once more, as a gradient check calls it
        if not same(first[1:], again):
            raise Wrong(f'{name}.backward gives another result when it is called again', why(first[1:], again))
        if not same(first, both()):
            raise Wrong(f'{name} gives another result for the same arguments, the second time')


def results(module, dgiven):
    """What backward returns, and the gradients that it stores, copied."""
    dx = backward(module, *(a.copy() for a in dgiven))
    grads = getattr(module, 'grads', None)
    stored = [grads[key] for key in sorted(grads, key=str)] if isinstance(grads, dict) else []
    return [None if a is None else np.array(a, np.float64) for a in (dx, *stored)]


def same(one, two):
    return all(
        (a is None and b is None) or (a is not None and b is not None and agree(a, b))
        for a, b in zip(one, two, strict=True)
    )


def why(first, again):
    if any(
        a is not None and b is not None and np.any(a) and agree(b, 2 * a)
        for a, b in zip(first[1:], again[1:], strict=True)
    ):
        return 'the gradients pile up: += for ='
    return 'backward overwrites what it has kept for itself' if not same(first[:1], again[:1]) else ''
