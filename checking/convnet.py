"""convnet: Table 1 of the assignment, by the order and sizes of the layers and by the values that they give."""

import torch
import torch.nn.functional as F
from torch import nn

from .compare import rng
from .networks import close, ends_in, recorded
from .solution import build
from .verdicts import Missing, Note, Wrong

TABLE = [64, 'M', 128, 'M', 256, 256, 'M', 512, 512, 'M', 512, 512, 'M']
N_CHANNELS, N_CLASSES = 3, 7


def pool(x):
    return F.max_pool2d(x, 3, 2, 1)


def normalise(x, bn, training):
    """Batch normalisation with their parameters; in evaluation with their running statistics."""
    stats = (None, None) if training or bn.running_mean is None else (bn.running_mean, bn.running_var)
    return F.batch_norm(x, *stats, bn.weight, bn.bias, training or stats[0] is None, 0, bn.eps)


def usual(x, bn, training):
    return F.relu(normalise(x, bn, training))


# What people do in the place of the pool, and of batch norm and ReLU; the sentence says it.
VARIANTS = [
    ('the pools take the average, not the maximum', {'pool': lambda x: F.avg_pool2d(x, 3, 2, 1)}),
    (
        'the pools take the average, and leave out the padding',
        {'pool': lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)},
    ),
    ('the pools are 2x2: Table 1 has 3x3, stride 2, padding 1', {'pool': lambda x: F.max_pool2d(x, 2, 2)}),
    ("the pools' stride is 3, PyTorch's default: Table 1 has 2", {'pool': lambda x: F.max_pool2d(x, 3, padding=1)}),
    ('the pools round up', {'pool': lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True)}),
    ('ReLU stands before batch normalisation', {'after': lambda x, bn, training: normalise(F.relu(x), bn, training)}),
    ('batch normalisation is left out', {'after': lambda x, bn, training: F.relu(x)}),
    ('the ReLUs are left out', {'after': normalise}),
    ('the activation is a leaky ReLU', {'after': lambda x, bn, t: F.leaky_relu(normalise(x, bn, t))}),
    ('the activation is an ELU', {'after': lambda x, bn, t: F.elu(normalise(x, bn, t))}),
    ('in evaluation the statistics are those of the batch', {'after': lambda x, bn, t: usual(x, bn, True)}),
    ('ReLU stands before and after batch normalisation', {'after': lambda x, bn, t: usual(F.relu(x), bn, t)}),
]


def table1(x, convs, bns, linear, training, pool=pool, after=usual):
    """Logits of Table 1 with their parameters."""
    layers = iter(zip(convs, bns, strict=True))
    for entry in TABLE:
        if entry == 'M':
            x = pool(x)
        else:
            conv, bn = next(layers)
            x = after(F.conv2d(x, conv.weight, conv.bias, padding=1), bn, training)
    return F.linear(x.flatten(1), linear.weight, linear.bias)


def layers_of(net, x):
    """Their convolutions, batch norms and linear layers in the order of their use."""
    with recorded() as calls, torch.no_grad():
        out = net(x.clone())
    if out is None:
        raise Missing('forward returns None: not written yet')
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    return out, [list(dict.fromkeys(k.module for k in calls if isinstance(k.module, kind))) for kind in kinds]


def check_layers(net, convs, bns, linears):
    """Wrong unless the layers are those of Table 1."""
    channels = [conv.out_channels for conv in convs]
    expected = [n for n in TABLE if n != 'M']
    if channels != expected:
        raise Wrong(
            f'there are {len(channels)} convolutions, with {", ".join(map(str, channels))} channels',
            f'Table 1 has {len(expected)}, with {", ".join(map(str, expected))}',
        )
    for number, conv in enumerate(convs, 1):
        got = (
            tuple(conv.kernel_size),
            tuple(conv.stride),
            conv.padding if conv.padding == 'same' else tuple(conv.padding),
        )
        if got not in {((3, 3), (1, 1), (1, 1)), ((3, 3), (1, 1), 'same')}:
            hint = 'Table 1 has 3x3 filters, stride 1 and padding 1'
            raise Wrong(f'convolution {number} has filters {got[0]}, stride {got[1]}, padding {got[2]}', hint)
    if len(bns) != len(expected):
        hint = f'one follows each of the {len(expected)} convolutions, before its ReLU'
        raise Wrong(f'there are {len(bns)} batch normalisations, expected {len(expected)}', hint)
    if len(linears) != 1:
        raise Wrong(f'there are {len(linears)} linear layers, expected 1')
    known = {id(p) for p in net.parameters()}
    if lost := sum(id(m.weight) not in known for m in [*convs, *linears]):
        hint = 'modules in a plain list are not registered: nn.ModuleList or nn.Sequential does that'
        raise Wrong(f'parameters() does not know {lost} layers, so that they are never trained', hint)


def randomise(bns):
    """Parameters and running statistics that are no ones and zeros, or much would look alike."""
    r = rng(1)
    for bn in bns:
        for value in (bn.weight, bn.bias, bn.running_mean):
            if value is not None:
                value.data.copy_(torch.tensor(r.normal(0.5, 0.5, tuple(value.shape))))
        if bn.running_var is not None:
            bn.running_var.copy_(torch.tensor(r.uniform(0.5, 2, tuple(bn.running_var.shape))))


def convnet(solution):
    net = build(solution.find('convnet_pytorch', 'ConvNet'), N_CHANNELS, N_CLASSES)
    net.double().train()
    x = torch.tensor(rng().normal(size=(3, N_CHANNELS, 32, 32)))
    out, (convs, bns, linears) = layers_of(net, x)
    if not convs:
        raise Missing('cannot be judged: it uses no nn.Conv2d')
    check_layers(net, convs, bns, linears)
    if tuple(out.shape) != (3, N_CLASSES):
        hint = f'there are always {out.shape[-1]} classes' if out.shape[-1] != N_CLASSES else ''
        raise Wrong(f'the output has the shape {tuple(out.shape)}, expected {(3, N_CLASSES)}', hint)
    randomise(bns)
    has_dropout = any('dropout' in type(m).__name__.lower() for m in net.modules())
    notes = ['convolutions without bias'] if any(conv.bias is None for conv in convs) else []
    for training in (False,) if has_dropout else (True, False):
        net.train(training)
        randomise(bns)
        with torch.no_grad():
            end = check_values(net(x.clone()), x, convs, bns, linears[0], training)
    if end:
        notes.append(f'gives {end}, not logits')
    return Note('; '.join(notes)) if notes else None


def check_values(out, x, convs, bns, linear, training):
    """What the output is of Table 1's logits; Wrong if nothing that is right."""
    mode = 'training' if training else 'evaluation'
    if not training and any(bn.running_mean is None for bn in bns):
        hint = 'track_running_stats is off: the output for an image depends on the others'
        raise Wrong('in evaluation, batch normalisation does not use running statistics', hint)
    end = ends_in(out, table1(x, convs, bns, linear, training))
    if end is not None:
        return end
    hint = ''
    for sentence, variant in VARIANTS:
        try:
            logits = table1(x, convs, bns, linear, training, **variant)
        except RuntimeError:
            continue
        if close(out, logits):
            hint = sentence
            break
    raise Wrong(f'in {mode} mode the output is not that of Table 1', hint)
