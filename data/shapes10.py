"""Shapes10: a data set in CIFAR-10's own form, drawn from a seed, for demos and tests without a download.

Each 32x32 picture shows one of ten kinds of shapes and textures, in random colours and at a random place, size and
rotation, over blobs and lines that belong to no class, under uneven light and sensor noise. A shape is as likely to be
darker than its ground as brighter, so neither a colour nor any single pixel tells the class: only local structure does,
which a convolution finds wherever it stands and an MLP must learn anew for every place.

A shape is its signed distance function f(u, v): negative inside, zero on the outline, positive outside, in coordinates
that are centred on the shape, turn with it and are measured in its radius. Where corners make the exact distance
costly, f is a bound with the same zeros.

    python -m data.shapes10 docs/shapes10.png        draws the figure of ten examples of each class
"""

import argparse
from pathlib import Path

import numpy as np

SIZE = 32  # pixels
CENTRE = (SIZE - 1) / 2
CHUNK = 250  # images drawn at once: enough to hide Python's overhead, few enough for the processor's cache
PIXELS = np.arange(SIZE, dtype=np.float32)


def half_planes(u, v, n, apothem):
    """Signed distances (n, ...) to the n lines along the sides of a regular polygon."""
    angles = 2 * np.pi / n * np.arange(n, dtype=np.float32)
    return np.stack([np.cos(a) * u + np.sin(a) * v for a in angles]) - np.float32(apothem)


def wave(t, period):
    """Triangle wave: the distance from t to the nearest multiple of the period."""
    return np.abs(t - period * np.rint(t / period))


def disc(u, v):
    return np.sqrt(u * u + v * v) - 1


def ring(u, v):
    return np.abs(disc(u, v) + 0.17) - 0.17


def blob(u, v):
    """A disc out of focus: a tenth of the distance, so that the smooth edge is ten times as wide."""
    return 0.1 * (disc(u, v) + 0.4)


def triangle(u, v):
    return half_planes(u, v, 3, apothem=0.55).max(axis=0)


def square(u, v):
    return half_planes(u, v, 4, apothem=0.8).max(axis=0)


def star(u, v):
    """The pentagram. Its tips lie beyond one side of the inner pentagon, so the second largest distance decides."""
    return np.partition(half_planes(u, v, 5, apothem=0.33), 3, axis=0)[3]


def cross(u, v):
    u, v = np.abs(u), np.abs(v)
    return np.maximum(np.minimum(u, v) - 0.22, np.maximum(u, v) - 1)


def stripes(u, v):
    return np.maximum(disc(u, v), wave(u, period=0.6) - 0.15)


def checkerboard(u, v):
    """Inside on every other field: where two triangle waves, each less its mean, differ in sign."""
    x, y = wave(u, period=0.9) - 0.225, wave(v, period=0.9) - 0.225
    return np.maximum(disc(u, v), np.sign(x * y) * np.minimum(np.abs(x), np.abs(y)))


def dots(u, v):
    return np.maximum(disc(u, v), np.hypot(wave(u, period=0.6), wave(v, period=0.6)) - 0.18)


def bar(u, v):
    """A line, for the clutter."""
    return np.maximum(np.abs(u) - 1, np.abs(v) - 0.08)


SHAPES = (disc, ring, blob, triangle, square, star, cross, stripes, checkerboard, dots)
CLASS_NAMES = tuple(shape.__name__ for shape in SHAPES)


def mask(shape, x, y, radius, angle):
    """Coverage of each pixel by n copies of a shape: clip(1/2 - f, 0, 1) with f in pixels, which smooths the edge.

    Shapes: x, y and radius in pixels and angle in radians, float32 (n,) each -> float32 (n, 32, 32) in [0, 1].
    """
    x, y, radius, angle = (a[:, None, None] for a in (x, y, radius, angle))
    cos, sin = np.cos(angle) / radius, np.sin(angle) / radius
    dx, dy = PIXELS - x, PIXELS[:, None] - y  # (n, 1, 32), (n, 32, 1)
    return np.clip(0.5 - radius * shape(cos * dx + sin * dy, cos * dy - sin * dx), 0, 1)


def draw(shape, n, rng):
    """Draw n pictures of a shape: uint8 (n, 3, 32, 32)."""

    def uniform(low, high, *size):
        return np.float32(low) + np.float32(high - low) * rng.random((n, *size), dtype=np.float32)

    def anywhere():
        return uniform(0, SIZE - 1), uniform(0, SIZE - 1)

    def paint(coverage, colour):
        canvas[...] += coverage[:, None] * (colour[:, :, None, None] - canvas)

    # Two colours at equal distances from a middle one, in a random direction: exchanging them changes no probability.
    direction = rng.standard_normal((n, 3), dtype=np.float32)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    middle, contrast = uniform(80, 176, 3), uniform(90, 140, 1) * direction

    canvas = np.empty((n, 3, SIZE, SIZE), np.float32)
    canvas[...] = (middle - contrast)[:, :, None, None]
    for _ in range(2):
        paint(mask(disc, *anywhere(), uniform(1, 2.5), uniform(0, np.pi)), uniform(0, 255, 3))
    paint(mask(bar, *anywhere(), uniform(5, 10), uniform(0, np.pi)), uniform(0, 255, 3))

    radius = uniform(8, 12)
    reach = SIZE / 2 - 0.85 * radius  # a shape may lose a little beyond the border
    x, y = CENTRE + reach * uniform(-1, 1), CENTRE + reach * uniform(-1, 1)
    paint(mask(shape, x, y, radius, uniform(0, 2 * np.pi)), middle + contrast)

    light_x, light_y = uniform(-1, 1, 1, 1, 1), uniform(-1, 1, 1, 1, 1)  # per pixel of the way
    canvas += light_x * (PIXELS - CENTRE) + light_y * (PIXELS[:, None] - CENTRE)
    canvas += 6 * rng.standard_normal(canvas.shape, dtype=np.float32)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def examples(n, rng):
    """Draw n pictures, equally many of each class (to within one), in random order, with their labels."""
    labels = rng.permutation(np.arange(n) % len(SHAPES)).astype(np.int64)
    images = np.empty((n, 3, SIZE, SIZE), np.uint8)
    for label, shape in enumerate(SHAPES):
        of_class = np.flatnonzero(labels == label)
        for start in range(0, len(of_class), CHUNK):
            chunk = of_class[start : start + CHUNK]
            images[chunk] = draw(shape, len(chunk), rng)
    return images, labels


def shapes10(seed=0, n_train=10_000, n_test=2_000):
    """Draw the data set. The same seed gives the same set, and NumPy's global random state is neither read nor changed.

    Training and test pictures come from independent random streams, so the size of one does not change the other.

    Returns:
        X_train, Y_train, X_test, Y_test: pictures uint8 (N, 3, 32, 32) and labels int64 (N,), N // 10 or one more of
        each class; the names of the labels are CLASS_NAMES.

    Raises:
        ValueError: a negative seed or size.
    """
    if min(seed, n_train, n_test) < 0:
        raise ValueError(
            f'shapes10 takes no negative seed or size, got seed={seed}, n_train={n_train}, n_test={n_test}'
        )
    train_rng, test_rng = np.random.default_rng(seed).spawn(2)
    return *examples(n_train, train_rng), *examples(n_test, test_rng)


def save_figure(path, columns=10):
    """Save a picture of the first examples of each class, a row per class."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    images, labels, _, _ = shapes10(n_train=columns * len(SHAPES), n_test=0)
    cell = SIZE + 2
    sheet = np.full((len(SHAPES) * cell, columns * cell, 3), 255, np.uint8)
    for label in range(len(SHAPES)):
        for column, image in enumerate(images[labels == label]):
            top, left = label * cell + 1, column * cell + 1
            sheet[top : top + SIZE, left : left + SIZE] = image.transpose(1, 2, 0) & 0xF8  # noise barely compresses

    side, margin, dpi = 2 * len(sheet), 130, 100  # two screen pixels for each pixel exactly
    fig = plt.figure(figsize=((side + margin) / dpi, side / dpi), dpi=dpi)
    ax = fig.add_axes((margin / (side + margin), 0, side / (side + margin), 1))
    ax.imshow(sheet, interpolation='nearest')
    ax.set_yticks(cell * (np.arange(len(SHAPES)) + 0.5), CLASS_NAMES, fontsize=12)
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    fig.savefig(path, dpi=dpi)
    plt.close(fig)


def main():
    parser = argparse.ArgumentParser('python -m data.shapes10', description='Draw ten examples of each class.')
    parser.add_argument('path', nargs='?', type=Path, default=Path('docs/shapes10.png'), help='default: %(default)s')
    args = parser.parse_args()
    try:
        args.path.parent.mkdir(parents=True, exist_ok=True)
        save_figure(args.path)
    except ValueError as error:  # a suffix that matplotlib does not know
        parser.error(str(error))
    except OSError as error:
        parser.exit(1, f'{parser.prog}: {error}\n')
    print(args.path)


if __name__ == '__main__':
    main()
