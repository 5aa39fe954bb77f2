"""The ConvNet of Table 1, augmentation, and the pictures that its training leaves."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import short_run
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cifar10_utils import CLASS_NAMES, DataSet, make_data_sets
from convnet_pytorch import Conv3x3, ConvNet
from torch_utils import Machine, accuracy, augment, make_mixing, predict_logits, six_views
from train_convnet_pytorch import parse_flags
from train_utils import plot_filters, plot_predictions

# Table 1 of the assignment: kind, input and output channels, and height and width of the output.
TABLE = [
    ('conv', 3, 64, 32),
    ('pool', 64, 64, 16),
    ('conv', 64, 128, 16),
    ('pool', 128, 128, 8),
    ('conv', 128, 256, 8),
    ('conv', 256, 256, 8),
    ('pool', 256, 256, 4),
    ('conv', 256, 512, 4),
    ('conv', 512, 512, 4),
    ('pool', 512, 512, 2),
    ('conv', 512, 512, 2),
    ('conv', 512, 512, 2),
    ('pool', 512, 512, 1),
]


def test_layers_are_those_of_table_1():
    model = ConvNet(3, 10)
    found = []

    def record(module, args, out):
        kind = 'conv' if isinstance(module, nn.Conv2d) else 'pool'
        assert (module.kernel_size, module.stride, module.padding) in [((3, 3), (1, 1), (1, 1)), (3, 2, 1)]
        found.append((kind, args[0].shape[1], out.shape[1], out.shape[2]))

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            module.register_forward_hook(record)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert found == TABLE


def test_each_convolution_has_bias_batch_norm_and_relu():
    layers = list(ConvNet(3, 10).features)
    convolutions = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 8
    for i in convolutions:
        assert layers[i].bias is not None
        assert isinstance(layers[i + 1], nn.BatchNorm2d) and isinstance(layers[i + 2], nn.ReLU)
        assert layers[i + 1].num_features == layers[i].out_channels
        assert layers[i + 2].inplace  # or else each layer's output would be kept twice for backward
    assert isinstance(layers[-1], nn.AvgPool2d)


@pytest.mark.parametrize(('n_channels', 'n_classes', 'expected'), [(3, 10, 9_231_114), (1, 7, 9_228_423)])
def test_number_of_parameters(n_channels, n_classes, expected):
    # (1, 7): 2 channels less are 2 · 9 · 64 = 1152 weights less, 3 classes less are 3 · 513 = 1539.
    assert sum(p.numel() for p in ConvNet(n_channels, n_classes).parameters()) == expected


def test_parameters_start_as_pytorch_draws_them():
    torch.manual_seed(0)
    model = ConvNet(3, 10)
    torch.manual_seed(0)
    assert torch.equal(model.features[0].weight, nn.Conv2d(3, 64, 3, padding=1).weight)


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(('height', 'width'), [(1, 1), (2, 2), (2, 4), (3, 3), (5, 4)])
def test_the_convolution_is_pytorchs_at_every_size(height, width, memory_format):
    generator = torch.Generator().manual_seed(0)
    x, dout = (torch.randn(3, n, height, width, generator=generator, dtype=torch.float64) for n in (4, 5))
    layer = Conv3x3(4, 5).double().to(memory_format=memory_format)
    x = x.to(memory_format=memory_format).requires_grad_()
    variables = [x, layer.weight, layer.bias]
    out, expected = layer(x), F.conv2d(*variables, padding=1)
    # The longest sums have 60 terms below 10 in size: rounding is at most 60 · 10 · 1.1e-16 = 7e-14.
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-13)
    for found, wanted in zip(*(torch.autograd.grad(o, variables, dout) for o in (out, expected)), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ('device', 'dtype', 'amx', 'size', 'operation'),
    [
        ('cpu', torch.float32, False, (2, 4), 'addmm'),
        ('cpu', torch.float32, False, (3, 3), 'convolution'),
        ('cpu', torch.bfloat16, False, (2, 4), 'addmm'),
        ('cpu', torch.float32, True, (4, 4), 'addmm'),
        ('cpu', torch.float32, True, (1, 17), 'convolution'),
        ('meta', torch.float32, True, (2, 4), 'convolution'),  # stands for any other device
    ],
)
def test_only_tiny_images_on_a_cpu_are_a_matrix_product(device, dtype, amx, size, operation, monkeypatch):
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: {'amx_bf16': amx}, raising=False)
    layer = Conv3x3(4, 5).to(device, dtype)
    with FlopCounterMode(display=False) as counter:
        layer(torch.zeros(3, 4, *size, device=device, dtype=dtype))
    flops = {str(name): count for name, count in counter.get_flop_counts()['Global'].items()}
    assert flops == {f'aten.{operation}': 2 * 9 * 4 * 5 * 3 * math.prod(size)}  # the same count either way


def augmented(x, **options):
    return augment(x, torch.Generator().manual_seed(0), Machine(parse_flags(['--device', 'cpu'])), **options)


@pytest.mark.parametrize(('kind', 'mode'), [('crop', 'constant'), ('reflect', 'reflect')])
def test_augmentation_is_a_flip_and_a_shift_and_nothing_else(kind, mode):
    picture = np.arange(1, 1025, dtype=np.float32).reshape(32, 32)  # each pixel is its own place
    wide, places = np.pad(picture, 4, mode), {}
    for flipped, top, left in itertools.product((False, True), range(-4, 5), range(-4, 5)):
        window = wide[4 + top : 36 + top, 4 + left : 36 + left]
        places[(window[:, ::-1] if flipped else window).tobytes()] = flipped, top, left
    x = torch.from_numpy(picture).expand(400, 3, 32, 32).contiguous()
    original = x.clone()
    out = augmented(x, kind=kind)
    assert torch.equal(x, original)
    assert torch.equal(out[:, 0], out[:, 1]) and torch.equal(out[:, 0], out[:, 2])  # channels move together
    flips, tops, lefts = zip(*(places[b[0].numpy().tobytes()] for b in out), strict=True)
    assert 150 < sum(flips) < 250  # 200 ± 5 standard deviations of 10
    assert set(tops) == set(lefts) == set(range(-4, 5))  # 400 draws miss one of nine with probability 1e-20
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.25  # 5 / sqrt(400): drawn apart


def test_cutout_blanks_a_square():
    x = torch.ones(300, 3, 32, 32)
    blank = augmented(x, padding=0, cutout=8) == 0
    assert torch.equal(blank[:, 0], blank[:, 2])
    sizes = blank[:, 0].sum(dim=(1, 2))
    assert sizes.max() == 64  # a whole square
    for dim in (1, 2):
        assert set(blank[:, 0].any(dim).sum(1)[sizes == 64].tolist()) == {8}
    assert sizes.min() >= 16  # its centre lies inside, so a corner of 4 x 4 is left at least
    assert len(torch.unique(blank[:, 0].reshape(300, -1), dim=0)) > 200  # another place for each image


@pytest.mark.parametrize('along', ['rows', 'columns'])
def test_affine_augmentation_moves_a_plane_to_a_plane(along):
    """Bilinear sampling of x(i, j) = i, or j, is exact: its slopes over rows and columns are those of I + E."""
    dim, across = (2, 3) if along == 'rows' else (3, 2)
    x = (torch.arange(32.0) + 100).reshape(1, 1, 32, 1).transpose(2, dim).expand(400, 3, 32, 32).contiguous()
    original = x.clone()
    out = augmented(x, kind='affine')
    assert torch.equal(x, original)
    assert torch.equal(out[:, 0], out[:, 2])  # channels move together
    centre = out[:, :, 14:18, 14:18]  # too far from the border for what is outside
    own, other = centre.diff(dim=dim).mean((1, 2, 3)), centre.diff(dim=across).mean((1, 2, 3))
    shift = centre.mean((1, 2, 3)) - 115.5
    if along == 'columns':
        flipped = own < 0
        assert 150 < flipped.sum() < 250  # 200 ± 5 standard deviations of 10
        own = own.abs()
    for values, low, high in [(own, 0.8, 1.2), (other, -0.2, 0.2), (shift, -4, 4)]:
        assert low - 1e-4 < values.min() and values.max() < high + 1e-4  # 100 has float32 steps of 1e-5
        assert values.max() - values.min() > 0.95 * (high - low)  # 400 draws
    assert abs(np.corrcoef(own, shift)[0, 1]) < 0.25  # 5 / sqrt(400): drawn apart


@pytest.fixture
def seen(quick, monkeypatch, data_dir, tmp_path):
    """The batches that the network sees in eight steps on copies of an image (32, 32), as a function of the flags."""
    batches, runs = [], itertools.count()
    forward = ConvNet.forward

    def spy(self, x):
        if self.training:
            batches.append(x.clone())
        else:
            assert x.shape[2:] == (32, 32)
        return forward(self, x)

    def run(image, *args):
        batches.clear()
        x = image.expand(8, 3, 32, 32)
        monkeypatch.setattr(Machine, 'next_batch', lambda *args: (x.clone(), torch.arange(8)))
        short_run('train_convnet_pytorch', data_dir, tmp_path / str(next(runs)), '--max_steps', 8, *args)
        return list(batches)

    monkeypatch.setattr(ConvNet, 'forward', spy)
    return run


def test_small_images_are_whole_images_and_come_first(seen):
    ramp = (torch.arange(32.0) - 15.5)[:, None]
    batches = seen(ramp, '--small_images', '0.4')
    assert [x.shape[2] for x in batches] == [24] * 4 + [32] * 4  # steps that begin before 0.4 of 8 are done
    for x in batches:
        side = x.shape[2]
        expected = (torch.arange(side) - (side - 1) / 2) * 32 / side
        # Each pixel is where it should be, to a twentieth of one: held fast at the corners, it would be 0.14 off.
        # At the border, part of the filter lies outside.
        torch.testing.assert_close(x[0, 0, 2:-2, 5], expected[2:-2], rtol=0, atol=0.05)
    assert {x.shape[2] for x in seen(ramp, '--small_images', '1')} == {24}
    assert {x.shape[2] for x in seen(ramp)} == {32}


@pytest.mark.parametrize(('small', 'shift', 'square'), [('1', 3, 6), ('0', 4, 8)])
def test_small_images_are_augmented_as_far_as_large_ones(seen, small, shift, square):
    def blanked(*args):
        """The most rows and columns at the border that are blank in any image, and the most pixels besides."""
        blank = torch.cat(seen(torch.ones(1), '--augment', '--small_images', small, *args))[:, 0] == 0  # (64, H, W)
        down, across = blank.all(2), blank.all(1)
        inside = blank & ~down[:, :, None] & ~across[:, None, :]
        return down.sum(1).max(), across.sum(1).max(), inside.sum((1, 2)).max()

    # 64 draws all miss the two largest shifts of nine with probability 1e-7.
    assert blanked() == (shift, shift, square**2)
    assert blanked('--cutout', '0') == (shift, shift, 0)


def test_six_views_of_an_image():
    x = torch.randn(2, 3, 6, 6)
    padded = np.pad(x.numpy(), [(0, 0), (0, 0), (1, 1), (1, 1)], 'reflect')
    weights = torch.randn(3 * 36, 4)

    def model(x):
        return x.flatten(1) @ weights

    def both(v):
        v = torch.from_numpy(np.ascontiguousarray(v))
        return (model(v) + model(v.flip(3))) / 2

    direct, mean = six_views(model, x)
    expected = both(x.numpy()) / 2 + (both(padded[..., :6, :6]) + both(padded[..., 2:, 2:])) / 4
    # float32 sums of 108 products, of size 10, err by 1e-6.
    assert torch.allclose(direct, model(x)) and torch.allclose(mean, expected, atol=1e-5)


@pytest.mark.parametrize('views', [2, 6])
def test_the_views_of_an_image_are_averaged_in_float32(views):
    def network(x):
        left = x[:, 0, 0, :1] > 0
        return torch.where(left, 1 + 2**-7, 1.0).bfloat16()  # neighbours in bf16, so that it cannot hold their mean

    pixels = np.zeros((1, 3, 32, 32), np.uint8)
    pixels[..., :16] = 255
    data_set = DataSet(pixels, np.zeros(1, int), np.zeros(pixels.shape[1:], np.float32), one_hot=False)
    model = nn.Module()
    model.forward = network
    logits, _ = predict_logits(model, data_set, Machine(parse_flags([])), views=views)
    assert logits.item() == 1 + 2**-8


def mixed_batches(n, *args):
    """What mixing makes of n batches of ten images, one of each class, whose channels are their one-hot labels."""
    x, y = torch.eye(10)[:, :, None, None].expand(10, 10, 32, 32).contiguous(), torch.arange(10)
    mix = make_mixing(parse_flags(args))
    torch.manual_seed(0)
    batches = [mix(x, y) for _ in range(n)]
    assert torch.equal(x.amax((2, 3)), torch.eye(10)) and torch.equal(y, torch.arange(10))
    return batches


@pytest.mark.parametrize('flag', ['--cutmix', '--mixup'])
def test_a_mixed_target_holds_each_class_as_the_image_does(flag):
    shares = []
    for x, t in mixed_batches(100, flag, '1'):
        # A mean of 1024 float32 numbers; the products with a share are rounded by 6e-8.
        torch.testing.assert_close(t, x.mean((2, 3)), rtol=0, atol=1e-6)
        torch.testing.assert_close(t.sum(1), torch.ones(10), rtol=0, atol=1e-6)
        torch.testing.assert_close(t, t[0, 0] * torch.eye(10) + t[0, 9] * torch.eye(10).roll(1, 0), rtol=0, atol=1e-6)
        if flag == '--cutmix':
            assert ((x == 0) | (x == 1)).all()
            rows = x[0, 9].amax(1)[:, None] * x[0, 9].amax(0)
            assert torch.equal(x[0, 9], rows)  # a box
        else:
            assert torch.equal(x, x[:, :, :1, :1].expand_as(x))
        shares.append(t[0, 9].item())
    assert min(shares) < 0.1 and max(shares) > 0.5 and len(set(shares)) > 50  # another share for each batch


def test_the_shares_of_mixed_batches_are_those_of_the_flags():
    kinds = {'left alone': 0, 'cut': 0, 'blended': 0}
    for x, t in mixed_batches(600, '--cutmix', '0.5', '--mixup', '0.25'):
        kinds['left alone' if t.ndim == 1 else 'cut' if ((x == 0) | (x == 1)).all() else 'blended'] += 1
    # Five standard deviations of at most 12.3; a box outside the image is rare, and counts as cut.
    assert abs(kinds['cut'] - 300) < 62 and abs(kinds['blended'] - 150) < 62 and abs(kinds['left alone'] - 150) < 62
    for flags in (['--cutmix', '0.9', '--mixup', '0.1'], ['--mixup', '1']):  # 1 - 0.9 - 0.1 is below 0
        assert all(t.ndim == 2 for _, t in mixed_batches(50, *flags))
    assert make_mixing(parse_flags([])) is None


def test_accuracy_on_mixed_targets_counts_the_larger_share():
    logits = torch.tensor([[1.0, 2, 0], [1, 2, 0], [1, 2, 0], [3, 2, 0]])
    targets = torch.tensor([[0.4, 0.6, 0], [0.6, 0.4, 0], [0, 0.3, 0.7], [0.9, 0.1, 0]])
    assert accuracy(logits, targets) == 0.5
    assert accuracy(logits, targets.argmax(1)) == 0.5


def test_pictures(tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(256, size=(60, 3, 32, 32), dtype=np.uint8), np.arange(60) % 10
    data_set = make_data_sets(images, labels, images, labels, one_hot=False)['test']
    probabilities = np.eye(10)[labels]
    probabilities[[0, 10, 11]] = np.eye(10)[5]  # two of six mistaken in class 0, one in class 1
    accuracies = plot_predictions(tmp_path, data_set, probabilities, [f'class {i}' for i in range(10)])
    assert accuracies == {f'class {i}': {0: 4 / 6, 1: 5 / 6}.get(i, 1.0) for i in range(10)}
    counts = np.loadtxt(tmp_path / 'confusion.csv', delimiter=',', skiprows=1, usecols=range(1, 11))
    assert counts[0, 5] == 2 and counts[1, 5] == 1 and np.trace(counts) == 57 and counts.sum() == 60
    plot_filters(tmp_path, rng.normal(size=(64, 3, 3, 3)))
    for name in ('confusion', 'mistakes', 'filters'):
        assert (tmp_path / f'{name}.png').read_bytes().startswith(b'\x89PNG')
        assert (tmp_path / f'{name}.pdf').read_bytes().startswith(b'%PDF')


def test_the_mistakes_shown_are_the_most_confident(tmp_path, monkeypatch):
    images, labels = np.zeros((60, 3, 32, 32), np.uint8), np.arange(60) % 10
    data_set = make_data_sets(images, labels, images, labels, one_hot=False)['test']
    probabilities = np.eye(10)[labels]
    for row, wrong in [(20, 0.6), (3, 0.9), (41, 0.7)]:
        probabilities[row] = (1 - wrong) * np.eye(10)[labels[row]] + wrong * np.eye(10)[(labels[row] + 1) % 10]
    shown, pixels = [], DataSet.pixels
    monkeypatch.setattr(DataSet, 'pixels', lambda self, rows: shown.extend(rows) or pixels(self, rows))
    plot_predictions(tmp_path, data_set, probabilities, CLASS_NAMES)
    assert shown[:3] == [3, 41, 20]
