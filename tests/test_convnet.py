"""The ConvNet of Table 1, augmentation, and the pictures that its training leaves."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cifar10_utils import CLASS_NAMES, DataSet, make_data_sets
from convnet_pytorch import ConvNet
from train_convnet_pytorch import parse_flags
from training.accuracy import accuracy
from training.augmentation import Augmentation
from training.convolution import SmallImageConv2d, use_matrix_products
from training.plots import draw_filters, draw_predictions, write_confusion
from training.torch_machine import TorchMachine

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
    layer = SmallImageConv2d(4, 5, 3, padding=1).double().to(memory_format=memory_format)
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
    layer = SmallImageConv2d(4, 5, 3, padding=1).to(device, dtype)
    with FlopCounterMode(display=False) as counter:
        layer(torch.zeros(3, 4, *size, device=device, dtype=dtype))
    flops = {str(name): count for name, count in counter.get_flop_counts()['Global'].items()}
    assert flops == {f'aten.{operation}': 2 * 9 * 4 * 5 * 3 * math.prod(size)}  # the same count either way


def test_the_machine_makes_small_images_of_any_convolution_that_suits_fast():
    """With the same weights; a subclass, or another stride, padding or filter, is left alone."""

    class Own(nn.Conv2d):
        pass

    suits = nn.Conv2d(4, 5, 3, padding=1)
    others = [nn.Conv2d(4, 5, 3), nn.Conv2d(4, 5, 3, 2, 1), nn.Conv2d(4, 5, 1), Own(4, 5, 3, padding=1)]
    others += [nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.Conv2d(4, 5, 3, padding=1, padding_mode='reflect')]
    kinds, weight = [type(layer) for layer in others], suits.weight
    use_matrix_products(nn.Sequential(suits, *others))
    assert type(suits) is SmallImageConv2d and suits.weight is weight
    assert [type(layer) for layer in others] == kinds


def augmented(x, **options):
    return Augmentation(0, TorchMachine(parse_flags(['--device', 'cpu'])), **options)(x)


@pytest.mark.parametrize('border', ['constant', 'reflect'])
def test_augmentation_is_a_flip_and_a_shift_and_nothing_else(border):
    picture = np.arange(1, 1025, dtype=np.float32).reshape(32, 32)  # each pixel is its own place
    wide, places = np.pad(picture, 4, border), {}
    for flipped, top, left in itertools.product((False, True), range(-4, 5), range(-4, 5)):
        window = wide[4 + top : 36 + top, 4 + left : 36 + left]
        places[(window[:, ::-1] if flipped else window).tobytes()] = flipped, top, left
    x = torch.from_numpy(picture).expand(400, 3, 32, 32).contiguous()
    original = x.clone()
    out = augmented(x, border=border)
    assert torch.equal(x, original)
    assert torch.equal(out[:, 0], out[:, 1]) and torch.equal(out[:, 0], out[:, 2])  # channels move together
    flips, tops, lefts = zip(*(places[b[0].numpy().tobytes()] for b in out), strict=True)
    assert 150 < sum(flips) < 250  # 200 ± 5 standard deviations of 10
    assert set(tops) == set(lefts) == set(range(-4, 5))  # 400 draws miss one of nine with probability 1e-20
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.25  # 5 / sqrt(400): drawn apart


def test_cutout_blanks_a_square():
    """Images of ones, whose reflected border is ones too: what is 0 is the square."""
    blank = augmented(torch.ones(300, 3, 32, 32), cutout=8, border='reflect') == 0
    assert torch.equal(blank[:, 0], blank[:, 2])
    sizes = blank[:, 0].sum(dim=(1, 2))
    assert sizes.max() == 64  # a whole square
    for dim in (1, 2):
        assert set(blank[:, 0].any(dim).sum(1)[sizes == 64].tolist()) == {8}
    assert sizes.min() >= 16  # its centre lies inside, so a corner of 4 x 4 is left at least
    assert len(torch.unique(blank[:, 0].reshape(300, -1), dim=0)) > 200  # another place for each image


@pytest.mark.parametrize(('side', 'shift', 'square'), [(24, 3, 6), (32, 4, 8)])
def test_small_images_are_augmented_as_far_as_large_ones(side, shift, square):
    def blanked(cutout):
        """The most rows and columns at the border that are blank in any image, and the most pixels besides."""
        blank = augmented(torch.ones(64, 1, side, side), cutout=cutout)[:, 0] == 0  # (64, H, W)
        down, across = blank.all(2), blank.all(1)
        inside = blank & ~down[:, :, None] & ~across[:, None, :]
        return down.sum(1).max(), across.sum(1).max(), inside.sum((1, 2)).max()

    # 64 draws all miss the two largest shifts of nine with probability 1e-7.
    assert blanked(8) == (shift, shift, square**2)
    assert blanked(0) == (shift, shift, 0)


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
    names = [f'class {i}' for i in range(10)]
    accuracies = write_confusion(tmp_path, labels, probabilities, names)
    assert accuracies == {f'class {i}': {0: 4 / 6, 1: 5 / 6}.get(i, 1.0) for i in range(10)}
    counts = np.loadtxt(tmp_path / 'confusion.csv', delimiter=',', skiprows=1, usecols=range(1, 11))
    assert counts[0, 5] == 2 and counts[1, 5] == 1 and np.trace(counts) == 57 and counts.sum() == 60
    draw_predictions(tmp_path, data_set, probabilities, names)
    draw_filters(tmp_path, rng.normal(size=(64, 3, 3, 3)))
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
    draw_predictions(tmp_path, data_set, probabilities, CLASS_NAMES)
    assert shown[:3] == [3, 41, 20]
