"""The best MLP's ingredients: whitening, the local start, affine augmentation, the L1 penalty, pruned weights."""

import json

import numpy as np
import pytest
import torch
from conftest import assert_same_run, failing_run, read_checkpoint
from test_resume import interrupt
from test_training import ranks

import cifar10_utils
from experiments import best_mlp
from experiments.best_mlp import (
    DEFORM,
    SHIFT,
    AffineAugmentation,
    Whitening,
    hard_threshold_,
    local_,
    parse_flags,
    soft_threshold_,
)
from mlp_pytorch import MLP
from predict import load_network
from training.errors import RunError
from training.torch_machine import TorchMachine


def started(hidden, init='local'):
    """An MLP with these hidden units and its weights as best_mlp.py starts them."""
    model = MLP(3072, hidden, 10, init='kaiming' if init == 'kaiming' else 'pytorch')
    if init == 'local':
        local_(model.linear_layers)
    return model


def short_run(data_dir, out_dir, *args):
    """A few steps of best_mlp.py with none of its ingredients but those that args name."""
    off = '--dnn_hidden_units 8 --whiten 0 --augment none --ema 0 --l1_penalty 0 --prune_below 0 --precision fp32'
    more = ['--batch_size', 50, '--eval_freq', 2, '--quiet', '--data_dir', data_dir, '--out_dir', out_dir]
    return best_mlp.train(parse_flags([*off.split(), *map(str, [*more, *args])]))


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
        first, second = energies(started([400, 300], init))
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
    energy, _ = energies(started([400, 300]))
    centre, spread = centre_and_spread(energy, pixels)
    fourth = (energy * torch.cdist(centre, pixels) ** 4).sum(1) / energy.sum(1)
    inside = (spread < 3) & ((centre - 16).abs().amax(1) < 8)  # nothing of these is cut off
    # 2.07 to 2.15 over three seeds; exp(-d) has 3.3, exp(-d³) less than 1.9
    assert 1.95 < (fourth / spread**4)[inside].median() < 2.35


def test_local_weights_have_the_size_of_kaimings_and_vary_smoothly():
    torch.manual_seed(0)
    model = started([400, 300])
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
        weights.append(started([], init).linear_layers[0].weight)
    assert torch.equal(*weights)


def test_local_is_for_images():
    with pytest.raises(ValueError, match='got 100 inputs'):
        local_(MLP(100, [5], 10).linear_layers)


def test_whitening_is_fitted_to_the_training_images_and_not_trained(quick, monkeypatch, data_dir, tmp_path):
    fitted = []

    def fit(self, batches, eps):
        fitted.append((torch.cat(list(batches)), eps))
        self.Z.data.normal_()

    monkeypatch.setattr(Whitening, 'fit', fit)
    short_run(data_dir, tmp_path, '--whiten', 0.5, '--validation_size', 10, '--ema', 0.5, '--max_steps', 5)
    data = cifar10_utils.get_cifar10(data_dir, one_hot=False, validation_size=10, standardize=True)['train']
    (images, eps), *others = fitted
    assert torch.equal(images, torch.from_numpy(data.images)) and eps == 0.5 and not others

    state = read_checkpoint(tmp_path / 'checkpoint.pt')
    torch.manual_seed(42)
    local_(MLP(3072, [8], 10, batch_norm='torch', activation='gelu', init='pytorch').linear_layers)
    whitening = Whitening(3072)
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
    out = AffineAugmentation(0, TorchMachine(parse_flags(['--device', 'cpu'])))(x)
    assert torch.equal(x, original)
    assert torch.equal(out[:, 0], out[:, 2])  # channels move together
    centre = out[:, :, 14:18, 14:18]  # too far from the border for what is outside
    own, other = centre.diff(dim=dim).mean((1, 2, 3)), centre.diff(dim=across).mean((1, 2, 3))
    shift = centre.mean((1, 2, 3)) - 115.5
    if along == 'columns':
        flipped = own < 0
        assert 150 < flipped.sum() < 250  # 200 ± 5 standard deviations of 10
        own = own.abs()
    for values, low, high in [(own, 1 - DEFORM, 1 + DEFORM), (other, -DEFORM, DEFORM), (shift, -SHIFT, SHIFT)]:
        assert low - 1e-4 < values.min() and values.max() < high + 1e-4  # 100 has float32 steps of 1e-5
        assert values.max() - values.min() > 0.95 * (high - low)  # 400 draws
    assert abs(np.corrcoef(own, shift)[0, 1]) < 0.25  # 5 / sqrt(400): drawn apart


def test_the_processes_deform_the_batch_of_a_single_one():
    x = torch.randn(6, 3, 32, 32)
    one, *two = (AffineAugmentation(5, ranks(n)[rank])(x[rank::n]) for rank, n in [(0, 1), (0, 2), (1, 2)])
    assert torch.equal(one[0::2], two[0]) and torch.equal(one[1::2], two[1])


def test_the_network_sees_deformed_images_unless_the_flags_say_no(quick, monkeypatch, data_dir, tmp_path):
    seen, forward = [], MLP.forward

    def spy(self, x):
        if self.training:
            seen.append(x.clone())
        return forward(self, x)

    monkeypatch.setattr(MLP, 'forward', spy)
    for augment in ('none', 'affine'):
        short_run(data_dir, tmp_path / augment, '--augment', augment, '--max_steps', 1)
    plain, deformed = seen
    assert torch.equal(AffineAugmentation(42, TorchMachine(parse_flags(['--device', 'cpu'])))(plain), deformed)


def cycle(rate, n_steps):
    """The learning rates of one cycle of n_steps."""
    optimizer = torch.optim.SGD([torch.zeros(1)], rate)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, n_steps, cycle_momentum=False)
    for _ in range(n_steps):
        yield scheduler.get_last_lr()[0]
        optimizer.step()
        scheduler.step()


def test_the_penalty_is_taken_off_the_weights_after_each_step(quick, data_dir, tmp_path):
    states = []
    for name, penalty in (('without', 0), ('with', 1000)):
        flags = ['--max_steps', 1, '--learning_rate', 1e-3, '--l1_penalty', penalty]
        short_run(data_dir, tmp_path / name, *flags)
        states.append(read_checkpoint(tmp_path / name / 'checkpoint.pt')['model'])
    for name, value in states[0].items():
        if value.ndim == 2:
            soft_threshold_([value], 1000 * next(cycle(1e-3, 1)))
            assert value.any()
        assert torch.equal(value, states[1][name]), name


def test_small_weights_are_pruned_after_the_penalty(quick, data_dir, tmp_path):
    states = []
    for name, prune_below in (('without', '0'), ('with', '1e-3')):
        flags = ['--max_steps', 1, '--learning_rate', 1e-3, '--l1_penalty', 1e5, '--prune_below', prune_below]
        short_run(data_dir, tmp_path / name, *flags)
        states.append(read_checkpoint(tmp_path / name / 'checkpoint.pt')['model'])
    zeros = []
    for name, value in states[0].items():
        if value.ndim == 2:
            hard_threshold_([value], 1e-3)
            assert value.any()
            zeros += (value == 0).flatten().tolist()
        assert torch.equal(value, states[1][name]), name
    assert 0 < sum(zeros) < len(zeros)
    summary = json.loads((tmp_path / 'with' / 'summary.json').read_text())
    assert summary['zero_weights'] == sum(zeros) / len(zeros)


@pytest.mark.parametrize('flag', ['--prune_below', '--l1_penalty'])
def test_pruning_all_weights_is_one_line(quick, data_dir, tmp_path, flag):
    with pytest.raises(RunError, match='linear layer 1 are 0 at step 2'):
        short_run(data_dir, tmp_path, flag, 1e5, '--max_steps', 5)
    assert not (tmp_path / 'checkpoint.pt').exists()


def test_the_penalty_follows_the_learning_rate_of_the_step(quick, monkeypatch, data_dir, tmp_path):
    thresholds = []
    monkeypatch.setattr(best_mlp, 'soft_threshold_', lambda weights, threshold: thresholds.append(threshold))
    short_run(data_dir, tmp_path, '--max_steps', 4, '--learning_rate', 0.5, '--l1_penalty', 0.1)
    assert thresholds == [0.1 * rate for rate in cycle(0.5, 4)]


def test_a_run_that_was_cut_off_continues_the_same(quick, monkeypatch, data_dir, tmp_path):
    flags = {'max_steps': 9, 'augment': 'affine', 'ema': 0.9, 'l1_penalty': 0.03, 'prune_below': 1e-3}
    args = [word for name, value in flags.items() for word in (f'--{name}', value)] + ['--validation_size', 21]
    whole = short_run(data_dir, tmp_path / 'whole', *args)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 'after_step', 5)
        short_run(data_dir, tmp_path / 'cut', *args)
    assert short_run(data_dir, tmp_path / 'cut', *args, '--resume') == whole
    assert_same_run(tmp_path / 'cut', tmp_path / 'whole')


NO_SIZES = ['-1', 'nan', 'inf', 'abc', '']
WRONG = {
    'dnn_hidden_units': ['', '0', 'many'],
    'init': ['normal'],
    'augment': ['crop'],
    'ema': ['1', *NO_SIZES],
    'label_smoothing': ['1', *NO_SIZES],
    'whiten': NO_SIZES,
    'l1_penalty': NO_SIZES,
    'prune_below': NO_SIZES,
}


@pytest.mark.parametrize(('flag', 'value'), [(flag, value) for flag, values in WRONG.items() for value in values])
def test_a_wrong_flag_is_one_line(capsys, flag, value):
    status, line = failing_run(capsys, 'experiments.best_mlp', f'--{flag}={value}')
    assert status == 2 and f'--{flag}' in line


def test_images_are_deformed_in_full_precision(quick, monkeypatch, data_dir, tmp_path):
    """Places in bfloat16 would be off by up to a sixteenth of a pixel and more."""
    seen = []
    monkeypatch.setattr(
        AffineAugmentation, '__call__', lambda self, x: seen.append(torch.is_autocast_enabled('cpu')) or x
    )
    short_run(data_dir, tmp_path, '--augment', 'affine', '--precision', 'bf16', '--max_steps', 2)
    assert seen == [False, False]
