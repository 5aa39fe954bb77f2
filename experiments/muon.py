"""Muon: steps of momentum that are orthogonalised.

Source: Keller Jordan, Muon, 2024, https://kellerjordan.github.io/posts/muon.
"""

import math

import torch


def orthogonalised(gradient, steps=3):
    """A matrix with the singular vectors of `gradient` (m, n), and singular values nearer to 1.

    Three steps carry values from about 0.02 of the norm up to between 0.68 and 1.21, and multiply smaller ones by up
    to a^3 = 41.

    Newton-Schulz, for m <= n: X <- a X + b (X X^T) X + c (X X^T)^2 X. Every iterate is Q X_0 with Q a polynomial in
    A = X_0 X_0^T, so that the iteration can run on m x m matrices: P = a I + b A + c A^2, Q <- P Q, A <- P A P.
    The coefficients are Keller Jordan's (Muon, 2024).
    """
    if len(gradient) > gradient.shape[1]:
        return orthogonalised(gradient.T, steps).T
    a, b, c = 3.4445, -4.7750, 2.0315
    X = gradient / (gradient.norm() + 1e-12)
    A = X @ X.T
    Q = eye = torch.eye(len(X), dtype=X.dtype, device=X.device)
    for step in range(steps):
        P = a * eye + b * A + c * A @ A
        Q = P @ Q if step else P
        if step < steps - 1:
            A = P @ A @ P
    return Q @ X


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are orthogonalised, for weights that are kept at the norm sqrt(n_out); AdamW for the rest.

        m <- momentum m + g;    u = m, or g + momentum m in Nesterov's form
        w <- sqrt(n_out) w / |w| - lr orthogonalised(u)

    Filters count as matrices (n_out, the rest). What is no matrix, or would be held back by a norm, belongs in a group
    with orthogonal=False: it moves by AdamW, to which weight_decay belongs.
    """

    def __init__(self, params, lr, momentum=0.0, nesterov=False, weight_decay=0.0, orthogonal=True):
        options = {'momentum': momentum, 'nesterov': nesterov, 'weight_decay': weight_decay, 'orthogonal': orthogonal}
        super().__init__(params, {'lr': lr} | options)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            move = self._move_orthogonally if group['orthogonal'] else self._move_by_adamw
            for w in group['params']:
                if w.grad is not None:
                    move(w, w.grad, self.state[w], group)

    @staticmethod
    def _move_orthogonally(w, g, state, group):
        m = state['momentum'] = g + group['momentum'] * state.get('momentum', 0)
        u = g + group['momentum'] * m if group['nesterov'] else m
        w.mul_(math.sqrt(len(w)) / w.norm())
        w.sub_(orthogonalised(u.flatten(1)).view_as(w), alpha=group['lr'])

    @staticmethod
    def _move_by_adamw(w, g, state, group, betas=(0.9, 0.999), eps=1e-8):
        step = state['step'] = state.get('step', 0) + 1
        m = state['mean'] = (1 - betas[0]) * g + betas[0] * state.get('mean', 0)
        v = state['square'] = (1 - betas[1]) * g * g + betas[1] * state.get('square', 0)
        w.mul_(1 - group['lr'] * group['weight_decay'])
        w.addcdiv_(m / (1 - betas[0] ** step), (v / (1 - betas[1] ** step)).sqrt() + eps, value=-group['lr'])
