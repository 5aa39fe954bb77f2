"""Shapes10: a built-in data set in CIFAR-10's own form, drawn from a seed, for demos and tests without a download.

Each 32x32 picture shows one of ten kinds of shapes and textures, in random colours and at a random place, size and
rotation, among blobs and lines that belong to no class, under uneven light and sensor noise. A shape and its ground are
equally likely to be the brighter one, so neither colour nor any single pixel tells the class: only local structure
does, which a convolution finds wherever it stands and an MLP must learn anew for every place.

A shape is its signed distance function f(u, v): negative inside, 0 on the outline, positive outside, in coordinates
centred on the shape, turned with it, and measured in its radius. A pixel's coverage, which makes the edge smooth, is
clip(1/2 - distance in pixels, 0, 1).

    python shapes10.py docs/shapes10.png        draws the figure of ten examples of each class
"""

import argparse

import numpy as np

SIZE = 32  # pixels
CHUNK = 250  # images drawn at once: large enough to hide Python's overhead, small enough for the processor's cache


def half_planes(u, v, n, apothem):
    """Signed distances (n, ...) to the lines through the n sides of a regular polygon."""
    angles = 2 * np.pi * np.arange(n, dtype=np.float32) / n
    return np.stack([np.cos(a) * u + np.sin(a) * v for a in angles]) - np.float32(apothem)


def wave(t, period):
    """Distance to the nearest multiple of the period: the triangle wave between 0 and period/2."""
    return np.abs(t - period * np.rint(t / period))


def disc(u, v):
    return np.sqrt(u * u + v * v) - 1


def ring(u, v):
    return np.abs(disc(u, v) + 0.25) - 0.25


def crescent(u, v):
    return np.maximum(disc(u, v), 0.85 - np.sqrt((u - 0.5) ** 2 + v * v))


def triangle(u, v):
    return half_planes(u, v, 3, apothem=0.55).max(axis=0)


def square(u, v):
    return half_planes(u, v, 4, apothem=0.8).max(axis=0)


def star(u, v):
    """The pentagram: its points lie beyond one side of the inner pentagon at most, so the second largest decides."""
    return np.partition(half_planes(u, v, 5, apothem=0.36), 3, axis=0)[3]


def cross(u, v):
    u, v = np.abs(u), np.abs(v)
    return np.maximum(np.minimum(u, v) - 0.28, np.maximum(u, v) - 1)


def stripes(u, v):
    return np.maximum(disc(u, v), wave(u, period=0.6) - 0.15)


def checkerboard(u, v):
    """Fields of side 0.45: the product of two square waves, negative on every other field."""
    x, y = wave(u, period=0.9) - 0.225, wave(v, period=0.9) - 0.225
    return np.maximum(disc(u, v), np.sign(x * y) * np.minimum(np.abs(x), np.abs(y)))


def dots(u, v):
    x, y = wave(u, period=0.6), wave(v, period=0.6)
    return np.maximum(disc(u, v), np.sqrt(x * x + y * y) - 0.18)


SHAPES = (disc, ring, crescent, triangle, square, star, cross, stripes, checkerboard, dots)
CLASS_NAMES = tuple(shape.__name__ for shape in SHAPES)


def mask(shape, x, y, radius, angle):
    """Coverage (B, 32, 32) in [0, 1] of the pixels by `shape` at (x, y), all arguments (B,), in pixels and radians."""
    x, y, radius, angle = (a[:, None, None] for a in (x, y, radius, angle))
    cos, sin = np.cos(angle) / radius, np.sin(angle) / radius
    dx, dy = PIXELS - x, PIXELS[:, None] - y
    return np.clip(0.5 - radius * shape(cos * dx + sin * dy, cos * dy - sin * dx), 0, 1)


def bar(u, v):
    return np.maximum(np.abs(u) - 1, np.abs(v) - 0.08)


PIXELS = np.arange(SIZE, dtype=np.float32)


def draw(shape, n, rng):
    """n pictures of a shape as uint8 (n, 3, 32, 32)."""

    def uniform(low, high, *size):
        return (low + (high - low) * rng.random((n, *size), dtype=np.float32)).astype(np.float32)

    def paint(coverage, colour):
        canvas[:] += coverage[:, None] * (colour[:, :, None, None] - canvas)

    def clutter():
        for _ in range(NB):
            paint(mask(disc, uniform(0, 31), uniform(0, 31), uniform(1, 2.5), uniform(0, 1)), uniform(0, 255, 3))
        for _ in range(NL):
            paint(mask(bar, uniform(0, 31), uniform(0, 31), uniform(5, 10), uniform(0, np.pi)), uniform(0, 255, 3))

    middle = uniform(80, 176, 3)
    direction = rng.standard_normal((n, 3), dtype=np.float32)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    contrast = uniform(*CONTRAST, 1) * direction

    canvas = np.empty((n, 3, SIZE, SIZE), np.float32)
    canvas[:] = (middle - contrast)[:, :, None, None]
    clutter()
    radius = uniform(*RADIUS)
    reach = SIZE / 2 - REACH * radius
    x, y = (15.5 + reach * uniform(-1, 1) for _ in 'xy')
    paint(mask(shape, x, y, radius, uniform(0, 2 * np.pi)), middle + contrast)
    for _ in range(TOP):
        paint(mask(bar, uniform(0, 31), uniform(0, 31), uniform(5, 10), uniform(0, np.pi)), uniform(0, 255, 3))
    slope = uniform(-LIGHT, LIGHT, 2, 1, 1) / 16
    canvas += (slope[:, 0] * (PIXELS - 15.5) + slope[:, 1] * (PIXELS[:, None] - 15.5))[:, None]
    canvas += NOISE * rng.standard_normal(canvas.shape, dtype=np.float32)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


NB, NL, TOP = 3, 2, 1
CONTRAST = (50, 110)
RADIUS = (8, 13)
REACH = 0.9
LIGHT = 40
NOISE = 12


def examples(n, rng):
    labels = rng.permutation(np.arange(n) % len(SHAPES))
    images = np.empty((n, 3, SIZE, SIZE), np.uint8)
    for c, shape in enumerate(SHAPES):
        where = np.flatnonzero(labels == c)
        for i in range(0, len(where), CHUNK):
            chunk = where[i : i + CHUNK]
            images[chunk] = draw(shape, len(chunk), rng)
    return images, labels


def shapes10(seed=0, n_train=10_000, n_test=2_000):
    train, test = np.random.default_rng(seed).spawn(2)
    return *examples(n_train, train), *examples(n_test, test)
