"""Draw the MLP and the ConvNet, their layers, sizes and parameters, from the models themselves: python docs/networks.py

Writes docs/networks.png. The two drawings are functions of axes, so that the report has them in its own typeface.
"""

import argparse
import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'experiments')]
from rows import COLORS  # noqa: E402

from cifar10_utils import N_CLASSES, N_PIXELS  # noqa: E402
from convnet_pytorch import ConvNet  # noqa: E402
from mlp_pytorch import MLP  # noqa: E402

HIDDEN = [100]  # the default of question 2
INPUT, POOL = '0.8', '0.55'
ARROW = {'arrowstyle': '-|>', 'color': '0.4', 'lw': 0.8}


def count(module):
    """Parameters of a module."""
    return sum(p.numel() for p in module.parameters())


def short(n):
    """1.8 k, 1.2 M."""
    return f'{n / 1e6:.2f} M' if n >= 1e6 else f'{n / 1e3:.0f} k' if n >= 1e4 else f'{n / 1e3:.1f} k' if n else ''


def prepared(axes, width, height):
    """The axes as an empty sheet of this size."""
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis('off')
    return axes


def draw_mlp(axes, size=8):
    """The default MLP: a column of units for each layer, an arrow with its parameters for each weight matrix."""
    linear = [m for m in MLP(N_PIXELS, HIDDEN, N_CLASSES).modules() if isinstance(m, nn.Linear)]
    units = [linear[0].in_features, *(m.out_features for m in linear)]
    names = ['pixels', *['hidden, ReLU'] * len(HIDDEN), 'classes, softmax']
    prepared(axes, 10, 5)
    for i, (n, name) in enumerate(zip(units, names, strict=True)):
        x, height = 0.9 + 3.8 * i, {0: 4, len(linear): 1.2}.get(i, 2.4)
        color = INPUT if i == 0 else COLORS['mlp_pytorch']
        axes.add_patch(Rectangle((x, 2.7 - height / 2), 0.5, height, color=color, lw=0))
        axes.text(x + 0.25, 2.6 - height / 2, f'{n:,}\n{name}', ha='center', va='top', fontsize=size)
        if i < len(linear):
            axes.annotate('', (x + 3.7, 2.7), (x + 0.6, 2.7), arrowprops=ARROW)
            shape = r' $\times$ '.join(map(str, linear[i].weight.shape))
            axes.text(x + 2.15, 2.85, f'linear, {shape}', ha='center', va='bottom', fontsize=size)
            axes.text(x + 2.15, 2.55, f'{count(linear[i]):,} parameters', ha='center', va='top', fontsize=size)
    axes.set_ylim(-0.6, 5)


def convnet_blocks():
    """(kind, channels, side, parameters) of the input and of each layer of Table 1, found by a forward pass."""
    model, x = ConvNet(3, N_CLASSES).eval(), torch.zeros(1, 3, 32, 32)
    blocks = [('input', 3, 32, 0)]
    for layer in model.features:
        with torch.no_grad():
            x = layer(x)
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
            kind = 'conv' if isinstance(layer, nn.Conv2d) else 'pool'
            blocks.append((kind, x.shape[1], x.shape[2], count(layer)))
        elif isinstance(layer, nn.BatchNorm2d):  # drawn with its convolution
            blocks[-1] = (*blocks[-1][:3], blocks[-1][3] + count(layer))
    return [*blocks, ('linear', model.classifier.out_features, 1, count(model.classifier))]


def draw_convnet(axes, size=8):
    """The ConvNet: a block for each layer's output, as high as its images are and as wide as it has channels."""
    teal = COLORS['convnet_pytorch']
    colors = {'input': INPUT, 'conv': teal, 'pool': POOL, 'linear': teal}
    x, middle = 0.5, 2.9
    for kind, channels, side, parameters in convnet_blocks():
        height, width = 0.35 + 4 * side / 32, 0.25 + channels / 640
        axes.add_patch(Rectangle((x, middle - height / 2), width, height, color=colors[kind], lw=0))
        label = 'classes,\nlinear' if kind == 'linear' else rf'{side}$\times${side}'
        centre, above, below = x + width / 2, middle + height / 2 + 0.12, middle - height / 2 - 0.12
        axes.text(centre, above, short(parameters), ha='center', va='bottom', fontsize=size)
        axes.text(centre, below, f'{channels}\n{label}', ha='center', va='top', fontsize=size)
        x += width + 1.2
    prepared(axes, x - 0.4, 6)
    names = ['image', r'3$\times$3 convolution, batch norm, ReLU', r'3$\times$3 max-pool']
    squares = [
        Rectangle((0, 0), 1, 1, color=colors[kind], label=name) for kind, name in zip(colors, names, strict=False)
    ]
    axes.legend(handles=squares, ncols=3, loc='upper right', frameon=False, fontsize=size, handlelength=1)
    note = 'above a block: parameters; below: channels, height and width'
    axes.text(x - 0.5, 0.1, note, ha='right', fontsize=size, color='0.4')


def figure():
    """Both, the ConvNet below the MLP."""
    drawn = Figure(figsize=(9, 5), layout='constrained')
    above, below = drawn.subplots(2, 1, height_ratios=(4, 6))
    draw_mlp(above)
    draw_convnet(below)
    mlp, convnet = count(MLP(N_PIXELS, HIDDEN, N_CLASSES)), count(ConvNet(3, N_CLASSES))
    above.set_title(f'The MLP of questions 1.2 and 2: {mlp:,} parameters', fontsize=10)
    below.set_title(f'The ConvNet of question 4: {convnet:,} parameters', fontsize=10)
    return drawn


def main():
    argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0]).parse_args()
    figure().savefig(Path(__file__).with_suffix('.png'), dpi=120)


if __name__ == '__main__':
    main()
