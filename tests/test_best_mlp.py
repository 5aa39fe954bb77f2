"""The best MLP: the local start, whitening, affine augmentation, the L1 penalty, and the weights that are pruned."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import assert_same_run, failing_run, failing_short_run, parse, read_checkpoint, short_run
from test_resume import interrupted_run

import cifar10_utils
from experiments import best_mlp
from experiments.best_mlp import AffineAugmentation, Whitening, hard_threshold_, local_, soft_threshold_
from mlp_pytorch import MLP
from training.networks import load_network

SCRIPT = 'experiments.best_mlp'


def initialised(init, n_inputs, n_hidden):
    """An MLP whose weights start local or as Kaiming's."""
    model = MLP(n_inputs, n_hidden, 10, init='kaiming' if init == 'kaiming' else 'pytorch')
    if init == 'local':
        local_(model.linear_layers)
    return model


def centre_and_spread(energy, places):
    """Of each row of energies (n, m) at the places (m, 2): the mean place (n, 2) and the rms distance from it (n,)."""
    share = energy / energy.sum(1, keepdim=True)
    centre = share @ places
    return centre, (share * torch.cdist(centre, places) ** 2).sum(1).sqrt()


def energies(model):
    """Squared weights of the first layer, summed over the colours (n, 1024), and of the second (n, n)."""
    first, second, _ = (layer.weight.detach() for layer in model.linear_layers)
    return (first**2).view(-1, 3, 1024).sum(1), second**2


def test_local_weights_are_near_a_place_of_their_own():
    torch.manual_seed(0)
    axis = torch.arange(32) + 0.5
    pixels = torch.cartesian_prod(axis, axis)
    found = {}
    for init in ('local', 'kaiming'):
        first, second = energies(initialised(init, 3072, [400, 300]))
        centre, spread = centre_and_spread(first, pixels)
        found[init] = centre, spread, centre_and_spread(second, centre)[1]
    centre, spread, spread_above = found['local']
    # exp(-d²/r²) in the plane has the rms distance r, here from 1.5 to 6, and less where the image ends
    assert 0.5 < spread.min() < 2 and 4 < spread.max() < 7
    assert spread_above.max() < 8
    assert centre.min() < 3 and centre.max() > 29 and (centre.mean(0) - 16).abs().max() < 1.5
    assert min(found['kaiming'][1]) > 11  # an even spread over 32 pixels has 32 / √6 = 13


def test_local_weights_fall_off_as_a_gaussian():
    """In the plane, its mean fourth power of the distance is twice the square of the mean second power."""
    torch.manual_seed(0)
    axis = torch.arange(32) + 0.5
    pixels = torch.cartesian_prod(axis, axis)
    energy, _ = energies(initialised('local', 3072, [400, 300]))
    centre, spread = centre_and_spread(energy, pixels)
    fourth = (energy * torch.cdist(centre, pixels) ** 4).sum(1) / energy.sum(1)
    inside = (spread < 3) & ((centre - 16).abs().amax(1) < 8)  # nothing of these is cut off
    # 2.07 to 2.15 over three seeds; exp(-d) has 3.3, exp(-d³) less than 1.9
    assert 1.95 < (fourth / spread**4)[inside].median() < 2.35


def test_local_weights_have_the_size_of_kaimings_and_vary_smoothly():
    torch.manual_seed(0)
    model = initialised('local', 3072, [400, 300])
    for layer in model.linear_layers[:2]:
        torch.testing.assert_close((layer.weight**2).sum(1), torch.full((layer.out_features,), 2.0))
        assert not layer.bias.any()
    image = model.linear_layers[0].weight.detach().view(400, 3, 32, 32)
    for a, b in ((image[..., 1:], image[..., :-1]), (image[..., 1:, :], image[..., :-1, :])):
        # Neighbours under a Gaussian of one pixel: exp(-1/4) = 0.78, and less as weights fall off. Of white noise: 0.
        assert 0.7 < torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] < 0.78
    # The last layer is Kaiming's: variance 2 / n_in, with a relative error of some √(2 / 3000).
    assert abs(model.linear_layers[2].weight.var() * 300 / 2 - 1) < 0.15


def test_local_without_hidden_layers_is_kaiming():
    weights = []
    for init in ('local', 'kaiming'):
        torch.manual_seed(1)
        weights.append(initialised(init, 3072, []).linear_layers[0].weight)
    assert torch.equal(*weights)


def test_local_is_for_images():
    with pytest.raises(ValueError, match='got 100 inputs'):
        initialised('local', 100, [5])


def test_whitening_is_fitted_to_the_training_images_and_not_trained(quick, monkeypatch, data_dir, tmp_path):
    fitted = []

    def fit(self, batches, eps):
        fitted.append((torch.cat(list(batches)), eps))
        self.Z.data.normal_()

    monkeypatch.setattr(Whitening, 'fit', fit)
    args = ['--whiten', '0.5', '--validation_size', '10', '--ema', '0.5', '--max_steps', 2]  # each checkpoint has 80 MB
    short_run(SCRIPT, data_dir, tmp_path, *args)
    data = cifar10_utils.get_cifar10(data_dir, one_hot=False, validation_size=10, standardize=True)['train']
    (images, eps), *others = fitted
    assert torch.equal(images, torch.from_numpy(data.images)) and eps == 0.5 and not others

    state = read_checkpoint(tmp_path / 'checkpoint.pt')
    torch.manual_seed(42)
    whitening, _ = best_mlp.make_model(parse(SCRIPT, '--dnn_hidden_units', 8))
    fit(whitening, [images], 0.5)
    assert torch.equal(state['model']['0.Z'], whitening.Z)
    # A mean of equal numbers, step after step, is off by a rounding (6e-8) each.
    torch.testing.assert_close(state['ema']['module.0.Z'], whitening.Z.data, rtol=1e-6, atol=0)
    assert torch.equal(load_network(tmp_path).model[0].Z, state['ema']['module.0.Z'])


@pytest.mark.parametrize('along', ['rows', 'columns'])
def test_affine_augmentation_moves_a_plane_to_a_plane(along):
    """Bilinear sampling of x(i, j) = i, or j, is exact: its slopes over rows and columns are those of I + E."""
    dim, across = (2, 3) if along == 'rows' else (3, 2)
    x = (torch.arange(32.0) + 100).reshape(1, 1, 32, 1).transpose(2, dim).expand(400, 3, 32, 32).contiguous()
    original = x.clone()
    out = AffineAugmentation(0, SimpleNamespace(rank=0, world_size=1, device='cpu'))(x)
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


def test_the_processes_deform_the_batch_of_a_single_one():
    x = torch.randn(6, 3, 32, 32)
    one, *two = (
        AffineAugmentation(5, SimpleNamespace(rank=rank, world_size=n, device='cpu'))(x[rank::n])
        for rank, n in [(0, 1), (0, 2), (1, 2)]
    )
    assert torch.equal(one[0::2], two[0]) and torch.equal(one[1::2], two[1])


def test_the_images_are_deformed_unless_the_flags_say_no(quick, monkeypatch, data_dir, tmp_path):
    seen = []
    forward = MLP.forward

    def spy(self, x):
        if self.training:
            seen.append(x.clone())
        return forward(self, x)

    monkeypatch.setattr(MLP, 'forward', spy)
    for augment in ('none', 'affine'):
        short_run(SCRIPT, data_dir, tmp_path / augment, '--augment', augment, '--max_steps', 1)
    assert seen[0].shape == seen[1].shape == (50, 3, 32, 32)
    affine = AffineAugmentation(42, SimpleNamespace(rank=0, world_size=1, device='cpu'))
    assert torch.equal(affine(seen[0]), seen[1])


# A single step of a cycle has a 250,000th of its learning rate: this one 0.01.
ONE_STEP = ['--max_steps', 1, '--learning_rate', 2500]


def weights_after_a_step(data_dir, out_dir, *args):
    """The learning rate of a single step, and the parameters and buffers after it."""
    (row,) = short_run(SCRIPT, data_dir, out_dir, *ONE_STEP, '--ema', 0, *args)
    assert row['learning_rate'] == pytest.approx(0.01)
    return row['learning_rate'], read_checkpoint(out_dir / 'checkpoint.pt')['model']


def test_the_penalty_is_taken_off_the_weights_after_each_step(quick, data_dir, tmp_path):
    rate, state = weights_after_a_step(data_dir, tmp_path / 'without', '--l1_penalty', 0, '--prune_below', 0)
    _, penalised = weights_after_a_step(data_dir, tmp_path / 'with', '--l1_penalty', 10, '--prune_below', 0)
    for name, value in state.items():
        if value.ndim == 2:
            soft_threshold_([value], 10 * rate)
            assert (value == 0).any() and value.any()
        assert torch.equal(value, penalised[name]), name


def test_small_weights_are_pruned_after_the_penalty(quick, data_dir, tmp_path):
    _, state = weights_after_a_step(data_dir, tmp_path / 'without', '--l1_penalty', 1, '--prune_below', 0)
    _, pruned = weights_after_a_step(data_dir, tmp_path / 'with', '--l1_penalty', 1, '--prune_below', 0.1)
    zeros = []
    for name, value in state.items():
        if value.ndim == 2:
            hard_threshold_([value], 0.1)
            assert (value == 0).any() and value.any()
            zeros += (value == 0).flatten().tolist()
        assert torch.equal(value, pruned[name]), name
    summary = json.loads((tmp_path / 'with' / 'summary.json').read_text())
    assert summary['zero_weights'] == sum(zeros) / len(zeros)


@pytest.mark.parametrize('flag', ['--prune_below', '--l1_penalty'])
def test_pruning_all_weights_is_one_line(quick, capsys, data_dir, tmp_path, flag):
    status, line = failing_short_run(capsys, SCRIPT, data_dir, tmp_path, flag, '1000')
    assert status == 1 and 'linear layer 1' in line and 'step 2' in line
    assert not (tmp_path / 'checkpoint.pt').exists()


def test_the_penalty_follows_the_learning_rate_of_the_step(quick, monkeypatch, data_dir, tmp_path):
    thresholds = []
    monkeypatch.setattr(best_mlp, 'soft_threshold_', lambda weights, threshold: thresholds.append(threshold))
    short_run(SCRIPT, data_dir, tmp_path, '--max_steps', 10, '--learning_rate', 0.5, '--l1_penalty', 0.1)
    # Half a cosine up from a 25th, to the end of the third step of ten, and another down to a 250,000th.
    up = [1 / 25 + 24 / 25 * (1 - math.cos(math.pi * k / 2)) / 2 for k in range(3)]
    low = 1 / 250_000
    down = [low + (1 - low) * (1 + math.cos(math.pi * k / 7)) / 2 for k in range(1, 8)]
    assert thresholds == pytest.approx([0.05 * share for share in up + down])


def test_a_run_that_was_cut_off_continues_the_same(quick, monkeypatch, data_dir, tmp_path):
    args = ['--max_steps', '9', '--validation_size', '21']
    whole = short_run(SCRIPT, data_dir, tmp_path / 'whole', *args)
    interrupted_run(monkeypatch, 'after_step', 5, SCRIPT, data_dir, tmp_path / 'cut', *args)
    assert short_run(SCRIPT, data_dir, tmp_path / 'cut', *args, '--resume') == whole
    assert_same_run(tmp_path / 'cut', tmp_path / 'whole')


@pytest.mark.parametrize(
    ('flag', 'value'),
    [
        ('dnn_hidden_units', ''),
        ('init', 'normal'),
        ('augment', 'crop'),
        ('ema', '1'),
        ('label_smoothing', '1'),
        *((flag, value) for flag in ('whiten', 'l1_penalty', 'prune_below') for value in ('-1', 'nan', 'inf', 'abc')),
    ],
)
def test_a_wrong_flag_is_one_line(capsys, flag, value):
    status, line = failing_run(capsys, SCRIPT, f'--{flag}={value}')
    assert status == 2 and f'--{flag}' in line
