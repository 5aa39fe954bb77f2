"""The speedrun's parts do what its equations say, and a short run of it leaves what a run must."""

import functools
import itertools
import json
import sys

import numpy as np
import torch
from conftest import ROOT

from cifar10_utils import make_data_sets

sys.path.insert(0, str(ROOT / 'experiments'))
import speedrun


def test_whitened_patches_are_uncorrelated():
    images = torch.randn(50, 3, 9, 9, dtype=torch.float64).cumsum(2).cumsum(3)
    images -= images.mean((0, 2, 3), keepdim=True)
    net = speedrun.SpeedNet(10).double()
    net.set_whitening(images, eps=0)
    out = net.whiten(images).permute(1, 0, 2, 3).flatten(1)  # (24, patches)
    assert torch.allclose(out[:12], -out[12:])
    assert torch.allclose(out[:12] @ out[:12].T / out.shape[1], torch.eye(12, dtype=torch.float64), atol=1e-8)


def test_convolutions_start_as_the_identity():
    first, *_, last = [m for m in speedrun.SpeedNet(10).groups if isinstance(m, torch.nn.Conv2d)]
    x = torch.randn(2, 256, 5, 5)
    assert torch.equal(last(x), x)
    x = torch.randn(2, 24, 5, 5)
    assert torch.equal(first(x)[:, :24], x)


def batches():
    images = np.arange(12 * 3 * 32 * 32).reshape(12, 3, 32, 32).astype(np.uint8)
    data_set = make_data_sets(images, np.arange(12) % 10, images, np.arange(12) % 10, one_hot=False)['train']
    return images, speedrun.Batches(data_set, 32, torch.Generator().manual_seed(0), torch.device('cpu'))


def test_a_batch_is_shifted_and_mirrored_as_it_should():
    images, drawn = batches()
    bordered = np.pad(images, [(0, 0), (0, 0), (2, 2), (2, 2)], 'reflect')
    places = itertools.product(range(12), range(5), range(5))
    windows = {(i, top, left): bordered[i, :, top : top + 32, left : left + 32] for i, top, left in places}
    rows = torch.tensor([3, 7, 11] * 200)
    mirrored = torch.arange(600) % 2 == 0
    _, x, y = drawn.draw(rows, mirrored)
    assert x.dtype == torch.uint8 and x.shape == (600, 3, 32, 32)
    assert torch.equal(y, rows % 10)
    shifts = set()
    for image, row, mirror in zip(x.numpy(), rows.tolist(), mirrored.tolist(), strict=True):
        image = image[..., ::-1] if mirror else image
        found = [key for key, window in windows.items() if key[0] == row and np.array_equal(window, image)]
        assert found
        shifts.add(found[0][1:])
    assert len(shifts) == 25  # 600 draws miss one of 25 with probability 6e-10


def test_small_images_are_the_large_ones_made_small():
    """Interpolation keeps a plane: the middle of pixels 2 j and 2 j + 1 of 4 col + row is 8 j + 2 + (2 i + 0.5)."""
    plane = 4 * np.arange(32) + np.arange(32)[:, None]
    images = np.broadcast_to(plane, (2, 3, 32, 32)).astype(np.uint8)
    data_set = make_data_sets(images, np.arange(2), images, np.arange(2), one_hot=False)['train']
    drawn = speedrun.Batches(data_set, 16, torch.Generator().manual_seed(0), torch.device('cpu'))
    small = drawn.images[0, 2:-2, 2:-2, 1].int()  # two pixels from the edge
    assert small.shape == (12, 12)
    i = torch.arange(2, 14)
    assert (small - (8 * i + 2 + 2 * i[:, None] + 0.5)).abs().max() <= 0.5  # rounded to whole numbers


def test_an_epoch_sees_the_hard_images_once():
    loss = torch.tensor([3.0, 1, 4, 1, 5, 9, 2, 6])
    generator = torch.Generator().manual_seed(0)
    assert sorted(speedrun.epoch_order(loss, 1, generator).tolist()) == list(range(8))
    orders = [speedrun.epoch_order(loss, 0.5, generator).tolist() for _ in range(20)]
    assert all(sorted(order) == [2, 4, 5, 7] for order in orders) and len(set(map(tuple, orders))) > 1


def test_a_short_run(easy_data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(speedrun, 'matrix_product_rate', functools.partial(speedrun.matrix_product_rate, side=128))
    monkeypatch.setattr(speedrun, 'BATCH_SIZE', 10)
    monkeypatch.setattr(speedrun, 'WEIGHT_DECAY', 2e-5)
    monkeypatch.setattr(speedrun, 'SpeedNet', functools.partial(speedrun.SpeedNet, widths=(32, 64, 64)))
    argv = ['--data_dir', str(easy_data_dir), '--quiet', '--precision', 'fp32', '--out_dir']
    flags = [speedrun.parse_flags([*argv, str(tmp_path / name)]) for name in ('first', 'second')]
    histories = [speedrun.train(f) for f in flags]
    assert histories[0] == histories[1]  # the same seed, the same bits
    summary = json.loads((tmp_path / 'first' / 'summary.json').read_text())
    assert summary['test_accuracy'] > 0.9 and summary['test_accuracy_tta'] > 0.9
    assert summary['pflop'] > 0 and summary['matrix_product_gflops'] > 0
