"""What no twin in NumPy has: whitening, the local initialisation, the L1 penalty, and the weights that are pruned."""

import json
import math

import pytest
import torch
from conftest import failing_short_run, read_checkpoint, short_run

import cifar10_utils
import predict
import train_mlp_pytorch
from mlp_pytorch import MLP, Whitening, hard_threshold_, soft_threshold_


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
        first, second = energies(MLP(3072, [400, 300], 10, init=init))
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
    energy, _ = energies(MLP(3072, [400, 300], 10, init='local'))
    centre, spread = centre_and_spread(energy, pixels)
    fourth = (energy * torch.cdist(centre, pixels) ** 4).sum(1) / energy.sum(1)
    inside = (spread < 3) & ((centre - 16).abs().amax(1) < 8)  # nothing of these is cut off
    # 2.07 to 2.15 over three seeds; exp(-d) has 3.3, exp(-d³) less than 1.9
    assert 1.95 < (fourth / spread**4)[inside].median() < 2.35


def test_local_weights_have_the_size_of_kaimings_and_vary_smoothly():
    torch.manual_seed(0)
    model = MLP(3072, [400, 300], 10, init='local')
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
        weights.append(MLP(3072, [], 10, init=init).linear_layers[0].weight)
    assert torch.equal(*weights)


def test_local_is_for_images():
    with pytest.raises(ValueError, match='got 100 inputs'):
        MLP(100, [5], 10, init='local')


def test_whitening_is_fitted_to_the_training_images_and_not_trained(quick, monkeypatch, data_dir, tmp_path):
    fitted = []

    def fit(self, batches, eps):
        fitted.append((torch.cat(list(batches)), eps))
        self.Z.data.normal_()

    monkeypatch.setattr(Whitening, 'fit', fit)
    args = ['--whiten', '0.5', '--standardize', '--validation_size', '10', '--ema', '0.5', '--optimizer', 'muon']
    short_run('train_mlp_pytorch', data_dir, tmp_path, *args)
    data = cifar10_utils.get_cifar10(data_dir, one_hot=False, validation_size=10, standardize=True)['train']
    (images, eps), *others = fitted
    assert torch.equal(images, torch.from_numpy(data.images)) and eps == 0.5 and not others

    state = read_checkpoint(tmp_path / 'checkpoint.pt')
    torch.manual_seed(42)
    model = MLP(3072, [8], 10, whiten=True)
    fit(model.layers[0], [images], 0.5)
    assert torch.equal(state['model']['layers.0.Z'], model.layers[0].Z)
    # A mean of equal numbers, step after step, is off by a rounding (6e-8) each.
    torch.testing.assert_close(state['ema']['module.layers.0.Z'], model.layers[0].Z.data, rtol=1e-6, atol=0)
    answering, _, _ = predict.load_network(tmp_path)
    assert torch.equal(answering.layers[0].Z, state['ema']['module.layers.0.Z'])


def test_the_penalty_is_taken_off_the_weights_after_each_step(quick, data_dir, tmp_path):
    states = []
    for name, penalty in (('without', '0'), ('with', '0.01')):
        flags = ['--max_steps', 1, '--learning_rate', 1e-3, '--l1_penalty', penalty]
        short_run('train_mlp_pytorch', data_dir, tmp_path / name, *flags)
        states.append(read_checkpoint(tmp_path / name / 'checkpoint.pt')['model'])
    for name, value in states[0].items():
        if name.endswith('weight'):
            soft_threshold_([value], 1e-5)
            assert (value == 0).any() and value.any()
        assert torch.equal(value, states[1][name]), name


def test_small_weights_are_pruned_after_the_penalty(quick, data_dir, tmp_path):
    states = []
    for name, prune_below in (('without', '0'), ('with', '1e-4')):
        flags = ['--max_steps', 1, '--learning_rate', 1e-3, '--l1_penalty', '0.01', '--prune_below', prune_below]
        short_run('train_mlp_pytorch', data_dir, tmp_path / name, *flags)
        states.append(read_checkpoint(tmp_path / name / 'checkpoint.pt')['model'])
    zeros = []
    for name, value in states[0].items():
        if name.endswith('weight'):
            hard_threshold_([value], 1e-4)
            assert (value == 0).any() and value.any()
            zeros += (value == 0).flatten().tolist()
        assert torch.equal(value, states[1][name]), name
    summary = json.loads((tmp_path / 'with' / 'summary.json').read_text())
    assert summary['zero_weights'] == sum(zeros) / len(zeros)


@pytest.mark.parametrize('flag', ['--prune_below', '--l1_penalty'])
def test_pruning_all_weights_is_one_line(quick, capsys, data_dir, tmp_path, flag):
    status, line = failing_short_run(capsys, 'train_mlp_pytorch', data_dir, tmp_path, flag, '100')
    assert status == 1 and 'linear layer 1' in line and 'step 2' in line
    assert not (tmp_path / 'checkpoint.pt').exists()


def test_the_penalty_follows_the_learning_rate_of_the_step(quick, monkeypatch, data_dir, tmp_path):
    thresholds = []
    monkeypatch.setattr(train_mlp_pytorch, 'soft_threshold_', lambda weights, threshold: thresholds.append(threshold))
    flags = '--max_steps 4 --learning_rate 0.5 --lr_schedule cosine --l1_penalty 0.1'
    short_run('train_mlp_pytorch', data_dir, tmp_path, *flags.split())
    assert thresholds == pytest.approx([0.05 * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)])
