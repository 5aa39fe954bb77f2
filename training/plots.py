"""Curves, confusion matrix, mistakes, filters: pictures are optional, and one that cannot be drawn costs a warning."""

import contextlib
import functools
import io
import math
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from training.files import write_atomically


@contextlib.contextmanager
def plain_matplotlib():
    """Matplotlib as it comes, whatever backend or rc file the user has."""
    backend = os.environ.pop('MPLBACKEND', None)  # a notebook's may not be installed where a script runs
    try:
        import matplotlib.style
    finally:
        if backend is not None:
            os.environ['MPLBACKEND'] = backend
    with matplotlib.style.context('default', after_reset=True), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # a font may lack a letter of a title
        yield


def picture(draw):
    """Makes a function that returns {name: figure} one that writes them into a folder, its first argument.

    Each is written as NAME.pdf, for a report, and NAME.png. What goes wrong is a line on stderr. The function returns
    whether all went well.
    """

    @functools.wraps(draw)
    def write(path, *args):
        try:
            with plain_matplotlib():
                for name, figure in draw(*args).items():
                    for suffix, options in [('pdf', {'metadata': {'CreationDate': None}}), ('png', {'dpi': 150})]:
                        image = io.BytesIO()
                        figure.savefig(image, format=suffix, **options)
                        write_atomically(path / f'{name}.{suffix}', image.getvalue())
            return True
        except Exception as error:  # matplotlib is not needed for a result
            reason = ' '.join(str(error).split()) or type(error).__name__
            print(f'no picture of the {draw.__name__.removeprefix("draw_")} ({reason})', file=sys.stderr)
            return False

    return write


LINES = {  # of curves: what it is called, and how it is drawn
    'train': ('training: mean over the batches since the last point', {'color': '0.6', 'ls': '-'}),
    'validation': ('validation set', {'color': '0.1', 'ls': ':'}),
    'test': ('test set', {'color': '0.1', 'ls': '-'}),
}


@picture
def draw_curves(history, title=''):
    """Loss and accuracy against the step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2))
    figure.subplots_adjust(left=0.1, right=0.97, bottom=0.26, top=0.89, wspace=0.28)
    steps = [row['step'] for row in history]
    style = {'lw': 1.2, 'marker': 'o' if len(steps) <= 20 else None, 'markersize': 3}
    found = [name for name in LINES if f'{name}_loss' in history[0]]
    losses, accuracies = figure.subplots(1, 2)
    for name in found:
        label, line = LINES[name]
        losses.plot(steps, [row[f'{name}_loss'] for row in history], label=label, **line, **style)
        accuracies.plot(steps, [100 * row[f'{name}_accuracy'] for row in history], **line, **style)
    top = _top([row[f'{name}_loss'] for name in found for row in history])
    losses.set(ylabel='cross entropy', ylim=(0, top))
    accuracies.set(ylabel='accuracy [%]', ylim=(0, 100))
    for axes in (losses, accuracies):
        axes.set(xlabel='step', xlim=(0, 1.02 * steps[-1]))
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
    figure.suptitle(title, fontsize=10, parse_math=False)
    figure.legend(loc='lower center', ncols=3, frameon=False, fontsize=8.5)
    return {'curves': figure}


def _top(losses):
    """Where the axis of the losses ends: above all but those of a start that would flatten the rest."""
    return 1.05 * min(max(losses), 3 * float(np.median(losses))) or 1


class Curves:
    """The curves of a run, drawn anew while it trains, so that a run that is cut off has them.

    Args:
        path: run folder.
        flags: parsed flags, which the title is made of.
    """

    EVERY = 30  # seconds, of which drawing takes less than one

    def __init__(self, path, flags):
        place = os.fsencode(Path(*path.parts[-3:])).decode(errors='replace')
        self.path, self.title = path, f'{place}: {flags.dataset}, seed {flags.seed}'
        self.drawn = time.perf_counter()

    def update(self, history):
        """Draws the curves unless they were drawn, or the run was begun, just before."""
        if time.perf_counter() - self.drawn >= self.EVERY and not self.draw(history):
            self.drawn = math.inf  # one warning is enough

    def draw(self, history):
        """Draws the curves; returns whether that went well."""
        well = draw_curves(self.path, history, self.title)
        self.drawn = time.perf_counter()
        return well


def confusion_counts(labels, probabilities):
    """How many images of each class (row) were taken for each class (column), given probabilities (N, C)."""
    C = probabilities.shape[1]
    counts = np.zeros((C, C), int)
    np.add.at(counts, (labels, probabilities.argmax(axis=1)), 1)
    return counts


def write_confusion(path, labels, probabilities, names):
    """Writes the counts to confusion.csv in a folder, and returns {name: accuracy} of each class."""
    counts = confusion_counts(labels, probabilities)
    lines = [['true class', *names], *([name, *row] for name, row in zip(names, counts, strict=True))]
    write_atomically(path / 'confusion.csv', ''.join(','.join(map(str, line)) + '\n' for line in lines).encode())
    shares = counts.diagonal() / np.maximum(counts.sum(axis=1), 1)
    return dict(zip(names, shares.tolist(), strict=True))


@picture
def draw_predictions(data_set, probabilities, names):
    """The confusion matrix with the accuracy of each class, and the 40 most confident mistakes.

    Args:
        data_set: a DataSet with integer labels.
        probabilities: (N, C) of its images, in file order.
        names: of the C classes.
    """
    counts = confusion_counts(data_set.labels, probabilities)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return {'confusion': _confusion(shares, names), 'mistakes': _mistakes(data_set, probabilities, names)}


def _confusion(shares, names):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 5), layout='constrained')
    axes = figure.subplots()
    axes.imshow(shares, cmap='Blues', vmin=0, vmax=1)
    for (i, j), share in np.ndenumerate(shares):
        axes.text(j, i, f'{100 * share:.1f}', ha='center', va='center', fontsize=7, color='w' if share > 0.5 else 'k')
    axes.set_xticks(range(len(names)), names, rotation=45, ha='right')
    axes.set_yticks(range(len(names)), [f'{name} {100 * shares[i, i]:.1f}' for i, name in enumerate(names)])
    axes.set(xlabel='predicted', ylabel='true class and its accuracy in %')
    return figure


def _mistakes(data_set, probabilities, names):
    from matplotlib.figure import Figure

    labels, predictions = data_set.labels, probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1) * (predictions != labels)
    worst = np.argsort(-confidence, kind='stable')[:40]
    pixels = data_set.pixels(worst)
    figure = Figure(figsize=(8, 6.2), layout='constrained')
    for axes, image, i in zip(figure.subplots(5, 8).flat, pixels, worst, strict=False):
        axes.axis('off')
        if confidence[i] > 0:
            axes.imshow(image)
            axes.set_title(f'{names[labels[i]]}\n{names[predictions[i]]} {confidence[i]:.2f}', fontsize=7)
    figure.suptitle('The most confident mistakes: true class, predicted class and its probability', fontsize=9)
    return figure


@picture
def draw_filters(weight):
    """The filters (n, 3, h, w) of a first convolution as colour images."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6 * math.ceil(len(weight) / 16) / 16 + 0.3), layout='constrained')
    scale = np.abs(weight).max(axis=(1, 2, 3), keepdims=True)  # grey is 0 in each of them
    images = (0.5 + 0.5 * weight / scale).transpose(0, 2, 3, 1)
    for axes, image in zip(figure.subplots(math.ceil(len(weight) / 16), 16).flat, images, strict=False):
        axes.imshow(image)
        axes.axis('off')
    return {'filters': figure}
