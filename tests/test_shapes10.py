import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import data.shapes10 as module
from data.shapes10 import CLASS_NAMES, SHAPES, mask, shapes10

ROOT = Path(module.__file__).parent.parent
COMMAND = [sys.executable, '-m', 'data.shapes10']


@pytest.fixture(scope='module')
def data():
    return shapes10(n_train=3_000, n_test=1_000)


def coverage(shape, x=15.5, y=15.5, radius=10, angle=0):
    return mask(shape, *np.array([[x], [y], [radius], [angle]], np.float32))[0]


def nearest_mean_accuracy(train, labels, test, test_labels):
    means = np.stack([train[labels == c].mean(axis=0) for c in range(10)])
    distances = ((test[:, None] - means) ** 2).sum(axis=2)
    return (distances.argmin(axis=1) == test_labels).mean()


def test_has_the_form_of_cifar10(data):
    x_train, y_train, x_test, y_test = data
    for x, y, n in ((x_train, y_train, 3_000), (x_test, y_test, 1_000)):
        assert (x.dtype, x.shape) == (np.uint8, (n, 3, 32, 32))
        assert (y.dtype, y.shape) == (np.int64, (n,))
        assert np.bincount(y).tolist() == [n // 10] * 10
        assert x.min() == 0 and x.max() == 255
    assert len(set(CLASS_NAMES)) == 10


def test_default_sizes():
    assert shapes10.__defaults__ == (0, 10_000, 2_000)


def test_labels_are_shuffled(data):
    # The first half of a shuffled balanced set of 3000 has 150 +- 8 of each class; in class order, 300 or none.
    assert np.abs(np.bincount(data[1][:1_500], minlength=10) - 150).max() < 50


def test_sizes_that_ten_does_not_divide():
    _, y_train, _, y_test = shapes10(n_train=23, n_test=0)
    assert sorted(np.bincount(y_train).tolist()) == [2] * 7 + [3] * 3
    assert len(y_test) == 0


def test_a_seed_fixes_every_pixel():
    first, again, other = (shapes10(seed, n_train=100, n_test=50) for seed in (7, 7, 8))
    for a, b, c in zip(first, again, other, strict=True):
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)


def test_test_pictures_do_not_depend_on_the_number_of_training_pictures():
    assert np.array_equal(shapes10(n_train=10, n_test=50)[2], shapes10(n_train=90, n_test=50)[2])


def test_no_picture_occurs_twice(data):
    assert len({x.tobytes() for x in np.concatenate([data[0], data[2]])}) == 4_000


def test_training_and_test_pictures_differ_when_equally_many():
    x_train, _, x_test, _ = shapes10(n_train=50, n_test=50)
    assert not {x.tobytes() for x in x_train} & {x.tobytes() for x in x_test}


def test_global_random_state_is_neither_read_nor_changed():
    np.random.seed(1)
    expected = np.random.random(5)
    np.random.seed(1)
    first = shapes10(n_train=50, n_test=50)
    assert np.array_equal(np.random.random(5), expected)
    again = shapes10(n_train=50, n_test=50)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize('sizes', [{'seed': -1}, {'n_train': -10}, {'n_test': -10}])
def test_negative_seed_or_size_is_refused(sizes):
    with pytest.raises(ValueError, match='no negative seed or size'):
        shapes10(**sizes)


def test_mean_colour_does_not_tell_the_class(data):
    x_train, y_train, x_test, y_test = data
    accuracy = nearest_mean_accuracy(x_train.mean(axis=(2, 3)), y_train, x_test.mean(axis=(2, 3)), y_test)
    assert accuracy < 0.15  # chance is 0.1 with a standard deviation of 0.01 over 1000 pictures


def test_pixel_templates_do_not_tell_the_class(data):
    x_train, y_train, x_test, y_test = (a.reshape(len(a), -1).squeeze().astype(np.float32) for a in data)
    assert nearest_mean_accuracy(x_train, y_train, x_test, y_test) < 0.2


def test_shape_may_be_darker_or_brighter_than_its_ground():
    rng = np.random.default_rng(0)
    squares = module.draw(module.square, 1_000, rng).astype(float).mean(axis=1)
    # A square covers the middle of most pictures and, in most, no corner.
    middle, corners = squares[:, 15:17, 15:17].mean(axis=(1, 2)), squares[:, ::31, ::31].mean(axis=(1, 2))
    assert 0.4 < (middle > corners).mean() < 0.6  # 0.5 +- 0.016


def test_place_size_and_rotation_vary(monkeypatch):
    drawn = []

    def recording_mask(shape, *placement):
        if shape is module.star:
            drawn.append(placement)
        return mask(shape, *placement)

    monkeypatch.setattr(module, 'mask', recording_mask)
    module.draw(module.star, 1_000, np.random.default_rng(0))
    [(x, y, radius, angle)] = drawn
    assert x.std() > 3 and y.std() > 3 and radius.std() > 1  # pixels
    assert np.histogram(angle, bins=4, range=(0, 2 * np.pi))[0].min() > 180  # 250 +- 14
    correlation = np.abs(np.corrcoef([x, y, radius, angle]) - np.eye(4))
    assert correlation.max() < 0.2  # independent: 0 +- 0.03


@pytest.mark.parametrize('shape', SHAPES)
def test_mask_follows_place_size_and_rotation(shape):
    here = coverage(shape)
    assert here.min() == 0 and here.max() == 1
    assert 30 < here.sum() < np.pi * 14**2
    # Whole-pixel shifts and quarter turns map the grid onto itself; only rounding in float32 distances remains.
    assert np.allclose(coverage(shape, x=17.5, y=14.5), np.roll(here, (-1, 2), axis=(0, 1)), atol=1e-4)
    assert np.allclose(coverage(shape, angle=np.pi / 2), np.rot90(here, -1), atol=1e-4)
    if shape is module.blob:  # the width of its edge is fixed in pixels
        return
    # Twice the radius, four times the area, to within the pixels of the outline.
    assert coverage(shape, radius=10).sum() == pytest.approx(4 * coverage(shape, radius=5).sum(), rel=0.15)


def test_every_class_has_its_own_mask():
    masks = [coverage(shape) for shape in SHAPES]
    for i, a in enumerate(masks):
        for b in masks[:i]:
            assert np.abs(a - b).sum() > 40  # pixels


@pytest.mark.parametrize(
    ('shape', 'area'),  # in squared radii
    [
        (module.disc, np.pi),
        (module.ring, np.pi * (1 - 0.66**2)),
        (module.triangle, 3 * np.sqrt(3) * 0.55**2),
        (module.square, 4 * 0.8**2),
        (module.cross, 4 * (2 * 0.22) - 4 * 0.22**2),
        (module.star, 10 * 0.33**2 * np.tan(np.pi / 5) * (1 + np.tan(np.pi / 5) * np.tan(2 * np.pi / 5)) / 2),
    ],
)
@pytest.mark.parametrize('angle', [0, 0.5])
def test_area_of_the_plain_shapes(shape, area, angle):
    assert coverage(shape, angle=angle).sum() == pytest.approx(
        100 * area, rel=0.02
    )  # smoothed edges are exact to a fraction of 1 px


def test_figure_script_writes_a_png(tmp_path):
    path = tmp_path / 'new' / 'figure.png'
    subprocess.run([*COMMAND, path], cwd=ROOT, check=True, capture_output=True)
    assert path.read_bytes().startswith(b'\x89PNG')
    assert path.stat().st_size < 260_000


@pytest.mark.parametrize(('name', 'status'), [('figure.xyz', 2), ('file/figure.png', 1)])
def test_figure_script_says_in_a_line_what_it_cannot_write(tmp_path, name, status):
    (tmp_path / 'file').touch()
    result = subprocess.run([*COMMAND, tmp_path / name], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == status and 'Traceback' not in result.stderr
    assert result.stderr.splitlines()[-1].startswith('python -m data.shapes10: ')


def test_importing_draws_in_numpy_only():
    code = 'import sys; from data import shapes10; shapes10.shapes10(n_train=10, n_test=10); print(sys.modules.keys())'
    loaded = subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "'numpy'" in loaded and "'matplotlib'" not in loaded and "'torch'" not in loaded
