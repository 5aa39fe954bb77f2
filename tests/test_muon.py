"""The optimiser Muon does what its equations say, to the weights that it should."""

import pytest
import torch

from convnet_pytorch import ConvNet
from experiments.best_convnet import make_optimizer
from experiments.muon import Muon, orthogonalised, orthogonalised_together

# Sums of up to 216 products err by sqrt(216) 1e-16, which |a| + |b| + |c| = 10 can magnify in each of three steps.
ROUNDING = 2e-12


@pytest.mark.parametrize('shape', [(4, 4), (8, 20), (64, 216), (20, 8)])
def test_orthogonalisation_is_newton_schulz(shape):
    G = torch.randn(shape, dtype=torch.float64)
    X = G / G.norm()
    for _ in range(3):
        A = X @ X.T
        X = 3.4445 * X - 4.7750 * A @ X + 2.0315 * A @ A @ X
    assert torch.allclose(orthogonalised(G), X, rtol=0, atol=ROUNDING)


def test_orthogonalisation_keeps_the_singular_vectors_and_evens_out_the_values():
    U, _ = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))
    V, _ = torch.linalg.qr(torch.randn(20, 8, dtype=torch.float64))
    S = torch.linspace(1, 3, 8, dtype=torch.float64)
    values = U.T @ orthogonalised(U * S @ V.T) @ V
    sigma = S / S.norm()
    for _ in range(3):
        sigma = 3.4445 * sigma - 4.7750 * sigma**3 + 2.0315 * sigma**5
    assert torch.allclose(values, torch.diag(sigma), rtol=0, atol=ROUNDING)
    assert sigma.max() / sigma.min() < S.max() / S.min()


def test_matrices_of_one_shape_are_orthogonalised_as_a_stack():
    matrices = [torch.randn(shape, dtype=torch.float64) for shape in [(4, 8), (20, 8), (4, 8), (8, 4)]]
    for one, step in zip(matrices, orthogonalised_together(matrices), strict=True):
        assert torch.allclose(step, orthogonalised(one), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize('nesterov', [False, True])
def test_a_step_on_filters(nesterov):
    w = torch.nn.Parameter(torch.randn(6, 2, 3, 3, dtype=torch.float64))
    muon = Muon([w], lr=0.1, momentum=0.5, nesterov=nesterov)
    momentum = torch.zeros(6, 18, dtype=torch.float64)
    for _ in range(3):
        before = w.detach().flatten(1).clone()
        w.grad = torch.randn_like(w)
        g = w.grad.flatten(1)
        momentum = 0.5 * momentum + g
        muon.step()
        update = g + 0.5 * momentum if nesterov else momentum
        expected = 6**0.5 * before / before.norm() - 0.1 * orthogonalised(update)
        assert torch.allclose(w.detach().flatten(1), expected, rtol=0, atol=ROUNDING)


def test_the_rest_moves_by_adamw():
    ours, theirs = (torch.nn.Parameter(torch.arange(1.0, 5, dtype=torch.float64)) for _ in range(2))
    options = {'lr': 0.1, 'weight_decay': 0.3}
    optimizers = Muon([ours], orthogonal=False, **options), torch.optim.AdamW([theirs], **options)
    for _ in range(5):
        ours.grad = theirs.grad = torch.randn_like(ours)
        for optimizer in optimizers:
            optimizer.step()
        # Each step of 0.1 and the weights, up to 4, are rounded some ten times by 1e-16 of their size.
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-14)


def test_filters_of_the_convnet_are_orthogonalised_and_the_rest_is_not():
    first, second = make_optimizer(ConvNet(3, 10), 0.2).param_groups
    assert [p.ndim for p in first['params']] == [4] * 8 and first['orthogonal']
    assert {p.ndim for p in second['params']} == {1, 2} and not second['orthogonal']
    assert (first['lr'], first['momentum'], first['nesterov']) == (0.2, 0.6, True)
    assert second['lr'] == pytest.approx(0.004)


def test_a_schedule_moves_both_groups():
    optimizer = make_optimizer(torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 2)), 0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    rates = []
    for _ in range(9):
        optimizer.step()
        scheduler.step()
        rates.append([group['lr'] for group in optimizer.param_groups])
    assert len({first for first, _ in rates}) > 5
    assert all(first == pytest.approx(50 * second) for first, second in rates)


def test_singular_values_go_where_the_docstring_says():
    sigma = torch.cat([torch.linspace(0.02, 0.15, 40), torch.full((24,), 1e-6)]).double()
    sigma[0] = (1 - (sigma[1:] ** 2).sum()).sqrt()  # of norm 1, so that nothing is scaled before the steps
    left, _ = torch.linalg.qr(torch.randn(64, 64, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(80, 64, dtype=torch.float64))
    got = (left.T @ orthogonalised(left * sigma @ right.T) @ right).diagonal()
    assert got[:40].min() > 0.68 and got[:40].max() < 1.21
    torch.testing.assert_close(got[40:], 3.4445**3 * sigma[40:], rtol=1e-9, atol=0)  # |b| σ² / a adds up to 2e-10
