"""mlp_numpy.forward: how the MLP joins their own modules, whatever these compute.

Each call of a module's forward and backward is recorded. The MLP is right if the modules were called in the right
order, each with what the one before gave; so a wrong softmax is not the MLP's fault.
"""

import contextlib
import inspect
from itertools import pairwise
from types import SimpleNamespace

import numpy as np

from .compare import agree, as_array, rng
from .layout import Linear
from .linear import class_of as linear_class
from .linear import stored_in_out
from .loss import softmax
from .recording import mlp_class, recorded
from .solution import ASKED_OF_MLP, NOT_PASSED_ON, activations, asked_slope, backward, build, run, slope_of
from .verdicts import CRASH, WRONG, Missing, Note, Wrong

SIZES = [(5, 4, (7, 6), 3), (1, 4, (6,), 3)]  # batch, inputs, hidden layers, classes
SQUARE = (5, 5, (5, 5), 5)


def draw(B, n_in, hidden, C):
    r = rng(B)
    sizes = [n_in, *hidden, C]
    labels = r.integers(C, size=B)
    params = [(r.normal(size=(o, i)), r.normal(size=o)) for i, o in pairwise(sizes)]
    dout = r.normal(size=(B, C))
    return SimpleNamespace(
        B=B,
        n_in=n_in,
        hidden=hidden,
        C=C,
        sizes=sizes,
        x=r.normal(size=(B, n_in)),
        dout=dout,
        params=params,
        t=np.eye(C)[labels],
    )


def network(solution, c):
    """Their MLP with the case's parameters, its linear layers in order, and the calls of a forward pass."""
    mlp = build(mlp_class(solution), c.n_in, list(c.hidden), c.C, **ASKED_OF_MLP)
    linears = layers_of(solution, mlp, c)
    for linear, (W, b) in zip(linears, c.params, strict=True):
        linear.set(W, b)
    return mlp, linears


def layers_of(solution, mlp, c):
    """Its linear layers in the order of their use, whatever attributes hold them."""
    with recorded(solution) as (forward, _):
        run(mlp, c.x.copy())
    used = []
    for call in forward:
        if isinstance(call.module, linear_class(solution)) and all(call.module is not m for m in used):
            used.append(call.module)
    if not used:
        raise Missing('cannot be judged: its forward pass calls no LinearModule')
    if len(used) != len(c.params):
        raise Wrong(
            f'{len(used)} linear layers are used, expected {len(c.params)} for the hidden layers {list(c.hidden)}',
            'is the last layer, or the first, left out of the list?' if len(used) < len(c.params) else '',
        )
    is_in_out = stored_in_out(solution)
    return [Linear(m, i, o, is_in_out) for m, i, o in zip(used, c.sizes, c.sizes[1:], strict=False)]


def by_contract(c):
    """What an MLP gives that joins right modules, or computes the same in one go: with each of the activations."""
    slopes = [0.0, 0.01, *ASKED_OF_MLP.values()]
    acts = [lambda x, s=s: np.where(x > 0, x, s * x) for s in slopes] + [lambda x: np.where(x > 0, x, np.expm1(x))]
    results = []
    for act in acts:
        x = c.x
        for W, b in c.params[:-1]:
            x = act(x @ W.T + b)
        W, b = c.params[-1]
        results.append(softmax(x @ W.T + b))
    return results


def is_softmax(module):
    return 'softmax' in type(module).__name__.lower()


def kinds_of(solution, calls, c):
    """What kind of module each of the calls is of, and what kinds they should be."""
    kinds = [
        'linear'
        if isinstance(k.module, linear_class(solution))
        else 'softmax'
        if is_softmax(k.module)
        else 'activation'
        for k in calls
    ]
    return kinds, ['linear', 'activation'] * len(c.hidden) + ['linear', 'softmax']


def check_chain(solution, calls, x, out, c):
    """Wrong unless the forward calls are linear, activation, ..., linear, softmax, each fed with the one before."""
    kinds, expected = kinds_of(solution, calls, c)
    if kinds != expected:
        hint = ''
        if kinds[-3:] == ['linear', 'activation', 'softmax']:
            hint = 'an activation stands between the last linear layer and the softmax'
        elif 'softmax' not in kinds:
            hint = 'the softmax at the end is missing'
        elif kinds == [k for k in expected if k != 'activation']:
            hint = 'the activations between the layers are missing'
        elif kinds.count('softmax') > 1:
            hint = 'softmax belongs at the end alone'
        raise Wrong(f'the modules in a row are {", ".join(kinds)}; expected {", ".join(expected)}', hint)
    value = x
    for number, call in enumerate(calls, 1):
        if not agree(call.given, value):
            turned = np.shape(call.given) == x.shape and agree(call.given, x.reshape(x.shape[::-1]).T)
            hint = 'the samples are mixed: a reshape for a transpose, or the other way round' if turned else ''
            raise Wrong(f'module {number} ({kinds[number - 1]}) does not get what the one before it gives', hint)
        value = call.out
    if not agree(out, value):
        raise Wrong('what is returned is not what the last module gives')


def check_slopes(solution, calls):
    """Wrong if the MLP asks for a slope that its leaky ReLUs, which ask for one too, are not given."""
    asked, leaky = asked_slope(mlp_class(solution)), activations(solution).get('leaky_relu')
    if asked is None or leaky is None or not inspect.signature(leaky).parameters:
        return
    if solution.verdicts.get('activation.forward') == WRONG:
        return  # it may ignore what it is given
    for call in calls:
        if isinstance(call.module, leaky) and (slope := slope_of(call.module, asked)) != asked:
            raise Wrong(f'the slope is {slope:g} where the MLP is asked for {asked:g}', NOT_PASSED_ON)


FORWARD = ('linear.forward', 'activation.forward', 'softmax.forward')
BACKWARD = ('linear.input', 'linear.weight', 'linear.bias', 'activation.input', 'softmax.input')


@contextlib.contextmanager
def no_module_s_fault(solution, c, items):
    """A failure in here is Missing where one of the modules' `items` is wrong and the MLP uses its modules rightly."""
    try:
        yield
    except Exception:
        wrong = [item for item in items if solution.verdicts.get(item) in (WRONG, CRASH)]
        if not wrong or not joins_rightly(solution, c, items is BACKWARD):
            raise
        raise Missing(f'cannot be judged before {wrong[0]} is right') from None


def joins_rightly(solution, c, goes_back):
    """Whether each module was the right one and was given what the one before gave, as far as the pass came."""
    mlp, raised = build(mlp_class(solution), c.n_in, list(c.hidden), c.C, **ASKED_OF_MLP), False
    with recorded(solution) as (forward, back):
        try:
            run(mlp, c.x.copy())
            if goes_back:
                backward(mlp, c.dout.copy())
        except Exception:
            raised = True
    if goes_back:
        got, expected = [id(call.module) for call in back], [id(call.module) for call in reversed(forward)]
    else:
        got, expected = kinds_of(solution, forward, c)
    calls, value = (back, c.dout) if goes_back else (forward, c.x)
    values = [value, *(call.out for call in calls)]
    fed = all(agree(call.given, value) for call, value in zip(calls, values, strict=False))
    return fed and got == expected[: len(got)] and (raised or len(got) == len(expected))


def mlp_numpy_forward(solution):
    for sizes in SIZES:
        c = draw(*sizes)
        with no_module_s_fault(solution, c, FORWARD):
            mlp, _ = network(solution, c)
            with recorded(solution) as (calls, _):
                out = run(mlp, c.x.copy())
            out = as_array(out, (c.B, c.C), 'forward')
            if not agree(out, *by_contract(c)):
                check_chain(solution, calls, c.x, out, c)
            check_slopes(solution, calls)
    try:
        run(build(mlp_class(solution), 4, [], 3, **ASKED_OF_MLP), c.x.copy())
    except Exception as error:
        return Note(f'raises {type(error).__name__} where there is no hidden layer (n_hidden = [])')
