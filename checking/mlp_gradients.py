"""mlp_numpy.gradients: how the MLP passes gradients back through their own modules, whatever these compute.

Where the calls are not those of the chain rule, its gradients are right if they are those of its own loss by central
differences.
"""

import numpy as np

from .compare import agree, as_array, factor_of, numeric_gradient
from .linear import class_of as linear_class
from .mlp_numpy import BACKWARD, SIZES, SQUARE, check_chain, draw, network, no_module_s_fault
from .recording import recorded
from .solution import backward, run
from .verdicts import Crashed, Missing, Note, Wrong, is_unwritten, told_by


def gradient_calls(solution, c):
    """Their linear layers after a backward pass, its calls, and those of the forward pass."""
    mlp, linears = network(solution, c)
    with recorded(solution) as (forward, back):
        run(mlp, c.x.copy())
        for linear in linears:  # so that what is not computed is seen
            for name in ('weight', 'bias'):
                key = getattr(linear, name)
                if linear.grads is not linear.params:
                    linear.grads[key] = np.zeros_like(linear.params[key])
        backward(mlp, c.dout.copy())
    return mlp, linears, forward, back


def check_back(solution, linears, forward, back, c):
    """Wrong unless the backward calls are the forward ones in reverse, each fed with the gradient of the one before."""
    order, got = [call.module for call in reversed(forward)], [call.module for call in back]
    if len(got) < len(order) and all(a is b for a, b in zip(order, got, strict=False)):
        first = isinstance(order[len(got)], linear_class(solution)) and len(got) == len(order) - 1
        what = 'the first linear layer' if first else f'module {len(order) - len(got)} and those below it'
        raise Wrong(f'backward never reaches {what}', f'the gradients of {what} stay 0: it never learns')
    if len(got) != len(order) or any(a is not b for a, b in zip(order, got, strict=True)):
        same = len(got) == len(order) and all(a is b for a, b in zip(reversed(order), got, strict=True))
        hint = (
            'backward goes from the first module to the last: it has to go from the last to the first' if same else ''
        )
        if left_out := [i for i, module in enumerate(order) if all(module is not m for m in got)]:
            kind = type(order[left_out[0]]).__name__
            hint = hint or f'the backward pass of module {len(order) - left_out[0]}, a {kind}, is never called'
        raise Wrong("the modules' backward passes are not called once each, from the last to the first", hint)
    value = c.dout
    for number, call in zip(range(len(back), 0, -1), back, strict=True):
        if not agree(call.given, value):
            hint = wrong_weights(call.given, linears, back, c) or factor_of(call.given, value, c)
            if any(agree(call.given, earlier.given) for earlier in back[: len(back) - number]):
                hint = 'it is given what the module after it was given: is the result of backward passed on?'
            raise Wrong(f'module {number} is not given the gradient that the module after it returns', hint)
        value = call.out


def wrong_weights(given, linears, back, c):
    """A sentence, if what was passed down is some gradient times the weights of another layer than the next one."""
    douts = [call.given for call in back if call.given is not None]
    names = [f'layer {i}' for i in range(1, len(linears) + 1)]
    for name, (W, _) in zip(names, c.params, strict=True):
        for dout in douts:
            if dout.shape[1] == W.shape[0] and agree(given, dout @ W):
                return f'it was multiplied with the weights of {name}: each layer passes on dout times its own weights'
    return ''


def mlp_numpy_gradients(solution):
    for sizes in SIZES:
        c = draw(*sizes)
        with told_by('mlp_numpy.forward', solution):
            network(solution, c)
        with no_module_s_fault(solution, c, BACKWARD):
            try:
                mlp, linears, forward, back = gradient_calls(solution, c)
            except Exception as error:
                if is_unwritten(error):
                    raise
                require_forward(solution, c)
                raise Crashed(error, hint_of_square(solution)) from error
        if all_right(mlp, linears, c):
            continue
        require_forward(solution, c)
        check_back(solution, linears, forward, back, c)
        return Note('joins the modules rightly; what it computes follows from a module that is wrong')


def require_forward(solution, c):
    """Missing unless the forward pass joins the modules rightly: what follows from it is not charged twice."""
    mlp, _ = network(solution, c)
    with recorded(solution) as (calls, _):
        out = run(mlp, c.x.copy())
    try:
        check_chain(solution, calls, c.x, as_array(out, (c.B, c.C), 'forward'), c)
    except Wrong:
        raise Missing('cannot be judged before mlp_numpy.forward is right') from None


def all_right(mlp, linears, c):
    """Whether the layers' gradients are those of its own loss by central differences."""
    for linear, (W, b) in zip(linears, c.params, strict=True):
        try:
            found = {name: linear.grad(name).copy() for name in ('weight', 'bias')}
        except (Missing, Wrong):
            return False

        def out(W, b, linear=linear):
            linear.set(W, b)
            return run(mlp, c.x.copy())

        numeric_W = numeric_gradient(lambda v, b=b, out=out: out(v, b), W, c.dout)
        numeric_b = numeric_gradient(lambda v, W=W, out=out: out(W, v), b, c.dout)
        linear.set(W, b)
        if not agree(found['weight'], numeric_W) or not agree(found['bias'], numeric_b):
            return False
    return True


def hint_of_square(solution):
    """What equal sizes tell about a backward pass that raises otherwise."""
    c = draw(*SQUARE)
    try:
        mlp, linears, forward, back = gradient_calls(solution, c)
        check_back(solution, linears, forward, back, c)
        if len({id(call.module) for call in forward}) < len(forward) and not all_right(mlp, linears, c):
            return 'one module stands in several places: each needs one of its own, which keeps its own input'
    except Wrong as wrong:
        return wrong.hint or wrong.detail
    except Exception:
        return ''
    return ''
