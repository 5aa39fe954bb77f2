"""mlp_pytorch and convnet: networks of PyTorch's own layers, told by what each layer is given and gives."""

import contextlib
from itertools import pairwise
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules import module as hooks

from .compare import rng
from .solution import ASKED_OF_MLP, NOT_PASSED_ON, asked_slope, build
from .verdicts import Missing, Note, Wrong, is_unwritten

ACTIVATIONS = {
    'ReLU': F.relu,
    'leaky ReLU': lambda x: F.leaky_relu(x, 0.01),
    'leaky ReLU of the slope asked for': lambda x: F.leaky_relu(x, ASKED_OF_MLP['neg_slope']),
    'leaky ReLU of 0.02': lambda x: F.leaky_relu(x, 0.02),
    'leaky ReLU of 0.2': lambda x: F.leaky_relu(x, 0.2),
    'ELU': F.elu,
    'SELU': F.selu,
    'GELU': F.gelu,
    'SiLU': F.silu,
    'softplus': F.softplus,
    'tanh': torch.tanh,
    'sigmoid': torch.sigmoid,
}
SLOPED = (nn.Identity, nn.Dropout, nn.AlphaDropout, nn.BatchNorm1d, nn.LayerNorm, nn.Flatten)  # no activation these


@contextlib.contextmanager
def recorded():
    """The calls of all modules without children, in order: module, given, out; unregistered ones too."""
    calls, stack = [], []

    def before(module, given):
        stack.append(given[0].detach().clone() if given and isinstance(given[0], torch.Tensor) else None)

    def after(module, _, out):
        given = stack.pop()
        if not any(module.children()) and isinstance(out, torch.Tensor):
            calls.append(SimpleNamespace(module=module, given=given, out=out.detach().clone()))

    handles = [hooks.register_module_forward_pre_hook(before), hooks.register_module_forward_hook(after)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def close(a, b):
    """Equal to six digits, but for the way in which pixels or channels are laid out."""
    if a is None or b is None or a.shape[:1] != b.shape[:1] or a.numel() != b.numel():
        return False
    a, b = a.detach().double().flatten(1), b.detach().double().flatten(1)
    return bool(torch.isfinite(a).all()) and float((a - b).abs().max()) <= 1e-6 * max(float(b.abs().max()), 1e-12)


def ends_in(out, logits):
    """'' if out is the logits, or the name of what was made of them; None if it is neither."""
    known = {
        '': logits,
        'softmax': F.softmax(logits, 1),
        'log softmax': F.log_softmax(logits, 1),
    }
    return next((name for name, value in known.items() if close(out, value)), None)


def wrong_end(out, logits):
    """Wrong with what was made of the logits, as far as that can be told."""
    known = {name: f(logits) for name, f in ACTIVATIONS.items()}
    known['softmax over the batch (dim 0)'] = F.softmax(logits, 0)
    name = next((name for name, value in known.items() if close(out, value)), '')
    hint = f'{name} is applied to the last linear layer' if name else ''
    return Wrong('the output is neither what the last linear layer gives nor its softmax', hint)


def module_of(cls, x, *sizes, **options):
    """Their network, an nn.Module; x is an input to try if its constructor has not called nn.Module's."""
    net = build(cls, *sizes, **options)
    if not isinstance(net, nn.Module):
        raise Wrong(f'{cls.__name__} is no nn.Module')
    if '_modules' not in vars(net):
        try:
            net.forward(x)
        except Exception as error:
            if is_unwritten(error):
                raise
        raise Wrong('its constructor leaves out that of nn.Module', 'super().__init__() comes first in it')
    return net


def is_random(net, x, out):
    """Whether the network gives something else than `out` the second time."""
    return not torch.allclose(out, net(x.clone()), rtol=1e-6, equal_nan=True)


def check_not_random(net, x, out):
    if is_random(net, x, out):
        raise Wrong('in evaluation it gives another output each time', 'F.dropout needs training=self.training')


def draw_parameters(module, r):
    for parameter in module.parameters(recurse=False):
        parameter.data = torch.tensor(r.normal(size=tuple(parameter.shape)) * (parameter.shape[-1] ** -0.5))
    module.double()


def mlp_pytorch(solution):
    notes = []
    for sizes in [(4, (7, 6), 3), (5, (8,), 4)]:
        notes.append(judge_mlp(solution, *sizes))
    return next((note for note in notes if note), None)


def judge_mlp(solution, n_in, hidden, C):
    r = rng(n_in)
    x = torch.tensor(r.normal(size=(6, n_in)))
    mlp = module_of(solution.find('mlp_pytorch', 'MLP'), x, n_in, list(hidden), C, **ASKED_OF_MLP)
    mlp.eval()
    with recorded() as calls:
        first = mlp(x.to(next((p.dtype for p in mlp.parameters()), torch.float32)))
    if first is None:
        raise Missing('forward returns None: not written yet')
    linears = [call.module for call in calls if isinstance(call.module, nn.Linear)]
    if not linears:
        raise Missing('cannot be judged: it uses no nn.Linear')
    shapes = [(m.in_features, m.out_features) for m in linears]
    sizes = [n_in, *hidden, C]
    if shapes != list(pairwise(sizes)):
        text = ', '.join(f'{a} to {b}' for a, b in shapes)
        raise Wrong(f'the linear layers are {text}; expected {" to ".join(str(n) for n in sizes)}')
    known = {id(p) for p in mlp.parameters()}
    if lost := sum(id(m.weight) not in known for m in linears):
        hint = 'modules in a plain list or dict are not registered: nn.ModuleList or nn.Sequential does that'
        raise Wrong(f'parameters() does not know {lost} of {len(linears)} layers, so that they are never trained', hint)
    mlp.double()
    for linear in linears:
        draw_parameters(linear, r)
    with recorded() as calls:
        out = mlp(x.clone())
    check_not_random(mlp, x, out)
    notes = follow(calls, x, out)
    if not out.requires_grad:
        raise Wrong('no gradient reaches any layer', 'detach, .data, no_grad or a conversion to NumPy?')
    out.square().sum().backward()
    check_slopes(calls, asked_slope(type(mlp)))
    if untrained := [i for i, m in enumerate(linears, 1) if m.weight.grad is None]:
        raise Wrong(f'no gradient reaches layer {untrained[0]}', 'detach, .data, no_grad or a conversion to NumPy?')
    return Note('; '.join(notes)) if notes else None


def check_slopes(calls, asked):
    """Wrong if a leaky ReLU, a layer or a function between two, has not the slope that the MLP is asked for."""
    if asked is None:
        return
    for before, call in pairwise([None, *calls]):
        if isinstance(call.module, nn.LeakyReLU):
            slope = call.module.negative_slope
        elif before is not None and not close(call.given, before.out):
            slopes = (s for s in (0.01, 0.02, 0.2) if close(call.given, F.leaky_relu(before.out, s)))
            slope = next(slopes, asked)
        else:
            continue
        if slope != asked:
            raise Wrong(f'the slope is {slope:g} where the MLP is asked for {asked:g}', NOT_PASSED_ON)


def follow(calls, x, out):
    """Follows x through the calls; Wrong where something is amiss. Returns what is worth saying."""
    value, notes, linear_before, activated = x, [], False, False
    for call in calls:
        name = type(call.module).__name__
        is_linear = isinstance(call.module, nn.Linear)
        if not close(call.given, value):
            act = next((n for n, f in ACTIVATIONS.items() if close(call.given, f(value))), None)
            if act is None or not linear_before:
                raise Wrong(f'{name} does not get what the layer before it gives')
            activated = True
        if is_linear and linear_before and not activated:
            raise Wrong('no activation stands between two linear layers', 'two linear layers in a row are one')
        if is_linear:
            activated = False
        elif not isinstance(call.module, SLOPED) and 'norm' not in name.lower():
            activated = True
        linear_before |= is_linear
        if 'norm' in name.lower() or 'dropout' in name.lower():
            notes.append(f'with {name}')
        if is_linear:
            logits, after = call.out, []
            if call.module.bias is None:
                notes.append('a linear layer has no bias')
        else:
            after.append(name)
        value = call.out
    end = ends_in(out, logits)
    if end is None:
        raise wrong_end(out, logits)
    if end:
        notes.append(f'gives {end}, not logits: right with a loss that expects it (F.cross_entropy does not)')
    return list(dict.fromkeys(notes))
