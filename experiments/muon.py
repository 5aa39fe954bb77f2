"""Muon: steps of momentum that are orthogonalised.

Source: Keller Jordan, Muon, 2024, https://kellerjordan.github.io/posts/muon.
"""

import math

import torch


def orthogonalised(gradient, steps=3):
    """A matrix with the singular vectors of `gradient` (..., m, n), and singular values nearer to 1.

    Three steps carry values from about 0.02 of the norm up to between 0.68 and 1.21, and multiply smaller ones by up
    to a^3 = 41.

    Newton-Schulz, for m <= n: X <- a X + b (X X^T) X + c (X X^T)^2 X. Every iterate is Q X_0 with Q a polynomial in
    A = X_0 X_0^T, so that the iteration can run on m x m matrices: P = a I + b A + c A^2, Q <- P Q, A <- P A P.
    The coefficients are Keller Jordan's (Muon, 2024).
    """
    if gradient.shape[-2] > gradient.shape[-1]:
        return orthogonalised(gradient.mT, steps).mT
    a, b, c = 3.4445, -4.7750, 2.0315
    X = gradient / (gradient.norm(dim=(-2, -1), keepdim=True) + 1e-12)
    A = X @ X.mT
    Q = eye = torch.eye(X.shape[-2], dtype=X.dtype, device=X.device)
    for step in range(steps):
        P = a * eye + b * A + c * A @ A
        Q = P @ Q if step else P
        if step < steps - 1:
            A = P @ A @ P
    return Q @ X


def orthogonalised_together(gradients):
    """Each of the matrices orthogonalised; those of one shape as one stack, which a GPU is given in one go."""
    stacks = {}
    for i, gradient in enumerate(gradients):
        stacks.setdefault(gradient.shape, []).append(i)
    found = {}
    for rows in stacks.values():
        found |= zip(rows, orthogonalised(torch.stack([gradients[i] for i in rows])), strict=True)
    return [found[i] for i in range(len(gradients))]


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are orthogonalised, for weights that are kept at the norm sqrt(n_out); AdamW for the rest.

        m <- momentum m + g;    u = m, or g + momentum m in Nesterov's form
        w <- sqrt(n_out) w / |w| - lr orthogonalised(u)

    Filters count as matrices (n_out, the rest). What is no matrix, or would be held back by a norm, belongs in a group
    with orthogonal=False: it moves by AdamW, to which weight_decay belongs. torch._foreach_* does one thing to all
    tensors of a list, which a GPU is given in one go.
    """

    def __init__(self, params, lr, momentum=0.0, nesterov=False, weight_decay=0.0, orthogonal=True):
        options = {'momentum': momentum, 'nesterov': nesterov, 'weight_decay': weight_decay, 'orthogonal': orthogonal}
        super().__init__(params, {'lr': lr} | options)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            weights = [w for w in group['params'] if w.grad is not None]
            if weights:
                move = self._move_orthogonally if group['orthogonal'] else self._move_by_adamw
                move(weights, [w.grad for w in weights], group)

    def _kept(self, name, weights):
        """What is kept under a name for each of the weights, at first 0."""
        return [self.state[w].setdefault(name, torch.zeros_like(w)) for w in weights]

    def _move_orthogonally(self, weights, gradients, group):
        momenta = self._kept('momentum', weights)
        torch._foreach_mul_(momenta, group['momentum'])
        torch._foreach_add_(momenta, gradients)
        u = momenta
        if group['nesterov']:
            u = torch._foreach_mul(momenta, group['momentum'])
            torch._foreach_add_(u, gradients)
        matrices = [direction.flatten(1) for direction in u]
        steps = orthogonalised_together(matrices) if weights[0].is_cuda else map(orthogonalised, matrices)
        norms = torch._foreach_norm(weights)
        torch._foreach_mul_(weights, [math.sqrt(len(w)) / norm for w, norm in zip(weights, norms, strict=True)])
        for w, step in zip(weights, steps, strict=True):
            w.sub_(step.view_as(w), alpha=group['lr'])

    def _move_by_adamw(self, weights, gradients, group, betas=(0.9, 0.999), eps=1e-8):
        means, squares = self._kept('mean', weights), self._kept('square', weights)
        for w in weights:
            self.state[w]['step'] = self.state[w].get('step', 0) + 1
        torch._foreach_mul_(means, betas[0])
        torch._foreach_add_(means, torch._foreach_mul(gradients, 1 - betas[0]))
        torch._foreach_mul_(squares, betas[1])
        torch._foreach_add_(squares, torch._foreach_mul(torch._foreach_mul(gradients, 1 - betas[1]), gradients))

        steps = [self.state[w]['step'] for w in weights]
        spread = torch._foreach_div(squares, [1 - betas[1] ** step for step in steps])
        torch._foreach_sqrt_(spread)
        torch._foreach_add_(spread, eps)
        torch._foreach_mul_(weights, 1 - group['lr'] * group['weight_decay'])
        unbiased = torch._foreach_div(means, [1 - betas[0] ** step for step in steps])
        torch._foreach_addcdiv_(weights, unbiased, spread, -group['lr'])
