"""Curves, confusion matrix, mistakes, filters: pictures are optional, and one that cannot be drawn costs a warning."""

import contextlib
import functools
import io
import math
import os
import sys

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
    with matplotlib.style.context('default', after_reset=True):
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


@picture
def draw_curves(history):
    """Loss and accuracy against the step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.6))
    figure.subplots_adjust(left=0.1, right=0.98, bottom=0.18, top=0.97, wspace=0.28)  # 2.25 fits beside the axis
    styles = {'train': ('0.55', '-'), 'validation': ('tab:green', '-.'), 'test': ('tab:blue', '-')}
    steps = [row['step'] for row in history]
    for axes, what in zip(figure.subplots(1, 2), ['loss', 'accuracy'], strict=True):
        for name, (color, line) in styles.items():
            if f'{name}_{what}' in history[0]:
                values = [row[f'{name}_{what}'] for row in history]
                marker = 'o' if len(steps) <= 20 else None
                axes.plot(steps, values, line, color=color, marker=marker, markersize=3, label=name)
        axes.set(xlabel='step', ylabel={'loss': 'cross entropy', 'accuracy': 'accuracy'}[what])
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
    axes.legend(frameon=False)
    return {'curves': figure}


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
