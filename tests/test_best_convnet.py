"""The best ConvNet's ingredients: small images, views, mixing; and its training from start to end."""

import itertools
import json

import numpy as np
import pytest
import torch
from conftest import assert_same_run
from test_resume import interrupt
from torch import nn

from cifar10_utils import DataSet, load_cifar10
from convnet_pytorch import ConvNet
from experiments import best_convnet
from experiments.best_convnet import make_mixing, parse_flags
from experiments.views import mean_of_six_views, six_views, with_mirror_image
from predict import load_network
from training.evaluation import evaluate, predict_logits
from training.torch_machine import TorchMachine


def short_run(data_dir, out_dir, *args):
    paths = ['--data_dir', str(data_dir), '--out_dir', str(out_dir)]
    return best_convnet.train(parse_flags(['--batch_size', '8', '--precision', 'fp32', '--quiet', *paths, *args]))


@pytest.fixture
def seen(quick, monkeypatch, data_dir, tmp_path):
    """The batches that the network sees in eight steps on copies of an image (32, 32), small until a share of them."""
    batches, runs = [], itertools.count()
    forward = ConvNet.forward

    def spy(self, x):
        if self.training:
            batches.append(x.clone())
        else:
            assert x.shape[2:] == (32, 32)
        return forward(self, x)

    def run(image, small_until):
        batches.clear()
        x = image.expand(8, 3, 32, 32)
        monkeypatch.setattr(TorchMachine, 'next_batch', lambda *args: (x.clone(), torch.arange(8)))
        monkeypatch.setattr(best_convnet, 'SMALL_UNTIL', small_until)
        monkeypatch.setattr(best_convnet, 'CUTMIX', 0)
        monkeypatch.setattr(best_convnet.Augmentation, '__call__', lambda self, x: x)
        short_run(data_dir, tmp_path / str(next(runs)), '--max_steps', '8', '--eval_freq', '8')
        return list(batches)

    monkeypatch.setattr(ConvNet, 'forward', spy)
    return run


def test_small_images_are_whole_images_and_come_first(seen):
    ramp = (torch.arange(32.0) - 15.5)[:, None]
    batches = seen(ramp, 0.4)
    assert [x.shape[2] for x in batches] == [24] * 4 + [32] * 4  # steps that begin before 0.4 of 8 are done
    for x in batches:
        side = x.shape[2]
        expected = (torch.arange(side) - (side - 1) / 2) * 32 / side
        # Each pixel is where it should be, to a twentieth of one: held fast at the corners, it would be 0.14 off.
        # At the border, part of the filter lies outside.
        torch.testing.assert_close(x[0, 0, 2:-2, 5], expected[2:-2], rtol=0, atol=0.05)
    assert {x.shape[2] for x in seen(ramp, 1)} == {24}
    assert {x.shape[2] for x in seen(ramp, 0)} == {32}


def test_the_mirror_image_is_left_for_right():
    x = torch.randn(2, 3, 4, 4)
    weights = torch.randn(48, 5)
    mean = with_mirror_image(lambda x: x.flatten(1) @ weights, x)
    mirrored = torch.from_numpy(x.numpy()[..., ::-1].copy())
    expected = (x + mirrored).flatten(1) @ weights / 2
    assert torch.allclose(mean, expected, atol=1e-5)  # float32 sums of 48 products


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


@pytest.mark.parametrize('views', [with_mirror_image, mean_of_six_views])
def test_the_views_of_an_image_are_averaged_in_float32(views):
    def network(x):
        left = x[:, 0, 0, :1] > 0
        return torch.where(left, 1 + 2**-7, 1.0).bfloat16()  # neighbours in bf16, so that it cannot hold their mean

    pixels = np.zeros((1, 3, 32, 32), np.uint8)
    pixels[..., :16] = 255
    data_set = DataSet(pixels, np.zeros(1, int), np.zeros(pixels.shape[1:], np.float32), one_hot=False)
    model = nn.Module()
    model.forward = network
    logits, _ = predict_logits(model, data_set, TorchMachine(parse_flags([])), logits_of=views)
    assert logits.item() == 1 + 2**-8


def mixed_batches(n, cutmix=0, mixup=0):
    """What mixing makes of n batches of ten images, one of each class, whose channels are their one-hot labels."""
    x, y = torch.eye(10)[:, :, None, None].expand(10, 10, 32, 32).contiguous(), torch.arange(10)
    mix = make_mixing(cutmix, mixup)
    torch.manual_seed(0)
    batches = [mix(x, y) for _ in range(n)]
    assert torch.equal(x.amax((2, 3)), torch.eye(10)) and torch.equal(y, torch.arange(10))
    return batches


@pytest.mark.parametrize('kind', ['cutmix', 'mixup'])
def test_a_mixed_target_holds_each_class_as_the_image_does(kind):
    shares = []
    for x, t in mixed_batches(100, **{kind: 1}):
        # A mean of 1024 float32 numbers; the products with a share are rounded by 6e-8.
        torch.testing.assert_close(t, x.mean((2, 3)), rtol=0, atol=1e-6)
        torch.testing.assert_close(t.sum(1), torch.ones(10), rtol=0, atol=1e-6)
        torch.testing.assert_close(t, t[0, 0] * torch.eye(10) + t[0, 9] * torch.eye(10).roll(1, 0), rtol=0, atol=1e-6)
        if kind == 'cutmix':
            assert ((x == 0) | (x == 1)).all()
            rows = x[0, 9].amax(1)[:, None] * x[0, 9].amax(0)
            assert torch.equal(x[0, 9], rows)  # a box
        else:
            assert torch.equal(x, x[:, :, :1, :1].expand_as(x))
        shares.append(t[0, 9].item())
    assert min(shares) < 0.1 and max(shares) > 0.5 and len(set(shares)) > 50  # another share for each batch


def test_the_shares_of_mixed_batches_are_those_that_are_asked_for():
    kinds = {'left alone': 0, 'cut': 0, 'blended': 0}
    for x, t in mixed_batches(600, 0.5, 0.25):
        kinds['left alone' if t.ndim == 1 else 'cut' if ((x == 0) | (x == 1)).all() else 'blended'] += 1
    # Five standard deviations of at most 12.3; a box outside the image is rare, and counts as cut.
    assert abs(kinds['cut'] - 300) < 62 and abs(kinds['blended'] - 150) < 62 and abs(kinds['left alone'] - 150) < 62
    for shares in ((0.9, 0.1), (0, 1)):  # 1 - 0.9 - 0.1 is below 0
        assert all(t.ndim == 2 for _, t in mixed_batches(50, *shares))


def test_the_views_are_reported_beside_the_plain_figure(quick, data_dir, tmp_path):
    short_run(data_dir, tmp_path, '--max_steps', '2')
    summary = json.loads((tmp_path / 'summary.json').read_text())
    network, data = load_network(tmp_path), load_network(tmp_path).data['test']
    for name, views in (('', None), ('_flip', with_mirror_image), ('_tta', mean_of_six_views)):
        loss, accuracy = evaluate(network.model, data, network.machine, logits_of=views)
        assert summary[f'test_accuracy{name}'] == accuracy
        assert name or summary['test_loss'] == loss  # of few images, the accuracies may be alike


def test_images_are_mixed_until_a_share_of_the_steps(quick, monkeypatch, data_dir, tmp_path):
    mixed = []
    monkeypatch.setattr(best_convnet, 'make_mixing', lambda: lambda x, y: mixed.append(1) or (x, y))
    monkeypatch.setattr(best_convnet, 'MIX_UNTIL', 0.5)
    short_run(data_dir, tmp_path, '--max_steps', '6')
    assert len(mixed) == 3


def test_learns_the_targets_that_mixing_makes(quick, monkeypatch, data_dir, tmp_path):
    """Targets that are all of class 3 leave nothing else to say, whatever the labels."""
    threes = torch.eye(10)[3]
    monkeypatch.setattr(best_convnet, 'make_mixing', lambda: lambda x, y: (x, threes.expand(len(y), 10)))
    row = short_run(data_dir, tmp_path, '--max_steps', '60', '--eval_freq', '20')[-1]
    assert row['train_accuracy'] > 0.8
    _, _, _, labels = load_cifar10(data_dir)
    assert row['test_accuracy'] == (labels == 3).mean() < 0.3


def test_a_run_that_was_cut_off_continues_the_same(quick, monkeypatch, data_dir, tmp_path):
    """While the images are small, and when they are large."""
    args = ['--max_steps', '9', '--eval_freq', '2', '--validation_size', '21']
    whole = short_run(data_dir, tmp_path / 'whole', *args)
    for step in (3, 7):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            interrupt(patch, 'after_step', step)
            short_run(data_dir, tmp_path / 'cut', *args, '--resume')
    assert short_run(data_dir, tmp_path / 'cut', *args, '--resume') == whole
    assert_same_run(tmp_path / 'cut', tmp_path / 'whole')


def test_images_are_flipped_and_shifted_with_their_borders_reflected(quick, monkeypatch, data_dir, tmp_path):
    made = []

    class Spied(best_convnet.Augmentation):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            made.append(self)

    monkeypatch.setattr(best_convnet, 'Augmentation', Spied)
    short_run(data_dir, tmp_path, '--max_steps', '1')
    (augment,) = made
    assert (augment.border, augment.cutout) == ('reflect', 0)
