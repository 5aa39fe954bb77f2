"""The report's figures of the runs and of the ConvNet, in the typeface of its text."""

import logging

import networks
import numpy as np
from evidence import column, confusion, twin_gap
from matplotlib.figure import Figure

logging.getLogger('fontTools').setLevel(logging.ERROR)  # it wonders about the dates in cmr10.ttf

# Computer Modern, the text's own typeface, comes with matplotlib.
STYLE = {
    'font.family': 'cmr10',
    'mathtext.fontset': 'cm',
    'axes.formatter.use_mathtext': True,
    'font.size': 9,
    'legend.fontsize': 8.5,
    'pdf.fonttype': 42,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.linewidth': 0.6,
    'xtick.major.width': 0.6,
    'ytick.major.width': 0.6,
    'axes.grid': True,
    'grid.alpha': 0.25,
    'grid.linewidth': 0.5,
    'lines.linewidth': 1.2,
    'lines.markersize': 3,
}
# Told apart by line and marker when printed in grey.
DARK, LIGHT = {'color': '#12436d', 'ls': '-', 'marker': 'o'}, {'color': '#d97a3a', 'ls': '--', 'marker': 's'}


def line(axes, steps, values, label, style):
    """The mean over the seeds, in the band from the lowest to the highest."""
    axes.plot(steps, values.mean(axis=0), label=label, **style)
    axes.fill_between(steps, values.min(axis=0), values.max(axis=0), color=style['color'], alpha=0.2, lw=0)


def curves(name):
    """Loss and accuracy of training batches and test set."""
    figure = Figure(figsize=(6.1, 1.95), layout='constrained')
    titles = {'loss': 'cross entropy [nats]', 'accuracy': 'accuracy [%]'}
    for axes, (what, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        for label, style in (('train', LIGHT), ('test', DARK)):
            steps, values = column(name, f'{label}_{what}')
            line(axes, steps, 100 * values if what == 'accuracy' else values, label, style)
        axes.set(xlabel='step', ylabel=title, xlim=(0, None))
        axes.legend(frameon=False)
    return figure


def twins():
    """Test accuracy of the NumPy and the PyTorch MLP, and the gap between their losses."""
    figure = Figure(figsize=(6.1, 1.95), layout='constrained')
    left, right = figure.subplots(1, 2)
    for name, label, style in (('mlp_numpy', 'NumPy', LIGHT), ('mlp_pytorch', 'PyTorch', DARK)):
        steps, values = column(name, 'test_accuracy')
        line(left, steps, 100 * values, label, style)
    left.set(xlabel='step', ylabel='test accuracy [%]', xlim=(0, None))
    left.legend(frameon=False)
    for values in twin_gap()[1]:
        right.semilogy(steps, values, **DARK)
    right.set(xlabel='step', ylabel='relative gap of the loss', xlim=(0, None))
    return figure


def layers():
    """The ConvNet's layers."""
    figure = Figure(figsize=(6.1, 1.9), layout='constrained')
    networks.draw_convnet(figure.subplots(), 7)
    return figure


def confusion_matrix(name):
    """The confusion matrix over all seeds, in percent."""
    names, _, shares = confusion(name)
    figure = Figure(figsize=(3.7, 3.3), layout='constrained')
    axes = figure.subplots()
    axes.imshow(shares, cmap='Greys', vmin=0, vmax=1)
    for (i, j), share in np.ndenumerate(shares):
        color = 'white' if share > 0.5 else 'black'
        axes.text(j, i, f'{100 * share:.0f}', ha='center', va='center', fontsize=7.5, color=color)
    axes.set_xticks(range(len(names)), names, rotation=45, ha='right', rotation_mode='anchor')
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel='predicted', ylabel='true')
    axes.grid(False)
    axes.tick_params(length=0)
    return figure
