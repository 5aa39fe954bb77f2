"""convnet: Table 1 of the assignment, by the order and sizes of the layers and by the values that they give."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from .compare import rng
from .networks import check_not_random, close, ends_in, is_random, module_of, recorded
from .solution import build
from .verdicts import Crashed, Missing, Note, Wrong, is_unwritten

TABLE = [64, 'M', 128, 'M', 256, 256, 'M', 512, 512, 'M', 512, 512, 'M']
# Of the 2020 edition: a residual block for each R, a convolution of 1x1 for all numbers but the first.
TABLE_2020 = [64, 'R', 128, 'M', 'R', 'R', 256, 'M', 'R', 'R', 512, 'M', *'RRMRRM']
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


# The same of the 2020 edition; `block` is a residual block without its way round.
VARIANTS_2020 = [
    *(variant for variant in VARIANTS if 'pool' in variant[1]),
    (
        'ReLU stands after the convolution of a block, not before',
        {'block': lambda x, bn, conv, t: F.relu(convolved(normalise(x, bn, t), conv))},
    ),
    ('the blocks have no ReLU', {'block': lambda x, bn, conv, t: convolved(normalise(x, bn, t), conv)}),
    ('the blocks have no way round: x is to be added', {'block': lambda x, bn, conv, t: residual(x, bn, conv, t) - x}),
]


def convolved(x, conv):
    return F.conv2d(x, conv.weight, conv.bias, padding=conv.kernel_size[0] // 2)


def residual(x, bn, conv, training):
    return convolved(usual(x, bn, training), conv)


def table1(x, convs, bns, linear, training, pool=pool, after=usual):
    """Logits of Table 1 with their parameters."""
    layers = iter(zip(convs, bns, strict=True))
    for entry in TABLE:
        if entry == 'M':
            x = pool(x)
        else:
            conv, bn = next(layers)
            x = after(convolved(x, conv), bn, training)
    return F.linear(x.flatten(1), linear.weight, linear.bias)


def table1_of_2020(x, convs, bns, linear, training, pool=pool, block=residual):
    """Logits of the 2020 edition's Table 1 with their parameters."""
    convs, bns = iter(convs), iter(bns)
    for entry in TABLE_2020:
        if entry == 'M':
            x = pool(x)
        elif entry == 'R':
            x = x + block(x, next(bns), next(convs), training)
        else:
            x = convolved(x, next(convs))
    return F.linear(usual(x, next(bns), training).flatten(1), linear.weight, linear.bias)


class Edition(NamedTuple):
    """Channels and filter sizes of the convolutions, number of batch norms, the logits, and wrong ones."""

    channels: list
    filters: list
    n_bns: int
    logits: object
    variants: list


USUAL = Edition([n for n in TABLE if n != 'M'], [3] * 8, 8, table1, VARIANTS)
OF_2020 = Edition(
    [64, 64, 128, 128, 128, *[256] * 3, *[512] * 5],
    [1 if n in (2, 5, 8) else 3 for n in range(13)],
    10,
    table1_of_2020,
    VARIANTS_2020,
)


def edition_of(convs):
    return OF_2020 if len(convs) > 8 and any(conv.kernel_size == (1, 1) for conv in convs) else USUAL


KINDS = (nn.Conv2d, (nn.BatchNorm2d, nn.BatchNorm1d), nn.Linear)


def layers_of(net, x):
    """Their output, and their convolutions, batch norms and linear layers in the order of their use."""
    try:
        with recorded() as calls, torch.no_grad():
            out = net(x.clone())
    except Exception as error:
        if is_unwritten(error):
            raise
        raise Crashed(error, fault_of([m for m in net.modules() if not any(m.children())], net)) from error
    if out is None:
        raise Missing('forward returns None: not written yet')
    return out, by_kind([call.module for call in calls])


def by_kind(modules):
    return [list(dict.fromkeys(m for m in modules if isinstance(m, kind))) for kind in KINDS]


def fault_of(modules, net):
    """What is wrong with the layers in the order of their making, where they do not run."""
    try:
        check_layers(net, *by_kind(modules))
    except Wrong as wrong:
        return f'{wrong.detail}; {wrong.hint}' if wrong.hint else wrong.detail
    return ''


def check_layers(net, convs, bns, linears):
    """Wrong unless the layers are those of Table 1 in their edition."""
    edition = edition_of(convs)
    channels, expected = [conv.out_channels for conv in convs], edition.channels
    if channels != expected:
        which = ' of the 2020 edition' if edition is OF_2020 else ''
        raise Wrong(
            f'there are {len(channels)} convolutions, with {", ".join(map(str, channels))} channels',
            f'Table 1{which} has {len(expected)}, with {", ".join(map(str, expected))}',
        )
    for number, (conv, size) in enumerate(zip(convs, edition.filters, strict=True), 1):
        padding = conv.padding if conv.padding == 'same' else tuple(conv.padding)
        got = (tuple(conv.kernel_size), tuple(conv.stride), padding)
        right = ((size, size), (1, 1), (size // 2, size // 2))
        if got not in {right, (*right[:2], 'same')}:
            hint = f'Table 1 has {size}x{size} filters, stride 1 and padding {size // 2}'
            raise Wrong(f'convolution {number} has filters {got[0]}, stride {got[1]}, padding {got[2]}', hint)
    if len(bns) != edition.n_bns:
        hint = f'one follows each of the {edition.n_bns} convolutions, before its ReLU'
        if edition is OF_2020:
            hint = 'one begins each of the 9 blocks, and one stands after the last pool'
        raise Wrong(f'there are {len(bns)} batch normalisations, expected {edition.n_bns}', hint)
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
    x = torch.tensor(rng().normal(size=(3, N_CHANNELS, 32, 32)))
    net = module_of(solution.find('convnet_pytorch', 'ConvNet'), x, N_CHANNELS, N_CLASSES)
    net.double().train()
    out, (convs, bns, linears) = layers_of(net, x)
    if not convs:
        raise Missing('cannot be judged: it uses no nn.Conv2d')
    check_layers(net, convs, bns, linears)
    with torch.no_grad():
        has_dropout = is_random(net, x, out)
    notes = ['convolutions without bias'] if any(conv.bias is None for conv in convs) else []
    notes += ['the network of the 2020 edition'] if edition_of(convs) is OF_2020 else []
    for training in (False,) if has_dropout else (True, False):
        net.train(training)
        randomise(bns)
        with torch.no_grad():
            values = net(x.clone())
            if not training:
                check_not_random(net, x, values)
            end = check_values(values, x, convs, bns, linears[0], training)
    if tuple(out.shape) != (3, N_CLASSES):
        hint = f'there are always {out.shape[-1]} classes' if out.shape[-1] != N_CLASSES else ''
        raise Wrong(f'the output has the shape {tuple(out.shape)}, expected {(3, N_CLASSES)}', hint)
    check_other_sizes(solution, net, x)
    if end:
        notes.append(f'gives {end}, not logits')
    return Note('; '.join(notes)) if notes else None


def check_other_sizes(solution, net, x):
    """Wrong unless the network, in evaluation, takes a single image, and one for other channels takes them."""
    with torch.no_grad():
        shape = tuple(net(x[:1].clone()).shape)
        if shape != (1, N_CLASSES):
            hint = 'squeeze() drops the batch too: flatten(1) does not' if shape == (N_CLASSES,) else ''
            raise Wrong(f'for a batch of 1 the output has the shape {shape}, expected {(1, N_CLASSES)}', hint)
        try:
            build(solution.find('convnet_pytorch', 'ConvNet'), 2, N_CLASSES).double().eval()(x[:, :2].clone())
        except Exception:
            hint = 'is n_channels passed on to the first convolution?'
            raise Wrong('with n_channels = 2 it takes no images of 2 channels', hint) from None


def check_values(out, x, convs, bns, linear, training):
    """What the output is of Table 1's logits; Wrong if nothing that is right."""
    mode = 'training' if training else 'evaluation'
    if not training and any(bn.running_mean is None for bn in bns):
        hint = 'track_running_stats is off: the output for an image depends on the others'
        raise Wrong('in evaluation, batch normalisation does not use running statistics', hint)
    edition = edition_of(convs)
    end = ends_in(out, edition.logits(x, convs, bns, linear, training))
    if end is not None:
        return end
    hint = ''
    for sentence, variant in edition.variants:
        try:
            logits = edition.logits(x, convs, bns, linear, training, **variant)
        except RuntimeError:
            continue
        if close(out, logits):
            hint = sentence
            break
    raise Wrong(f'in {mode} mode the output is not that of Table 1', hint)
