"""Wrong formulas that people write, each with the sentence that says so. A hint is one that was computed and agrees.

Each is a function of a case: its arrays x, W, b, dout and so on as the checks drew them, B the size of the batch. What
it gives is compared with a solution's result to six digits. Plain factors (a sign, 1/B, B) are found without these.
"""

import numpy as np


def _softmax(x, axis=1, m=None):
    e = np.exp(x - (x.max(axis=axis, keepdims=True) if m is None else m))
    return e / e.sum(axis=axis, keepdims=True)


def _e(x):
    return np.exp(x - x.max(axis=1, keepdims=True))


LINEAR_FORWARD = [
    ('the bias is left out', lambda c: c.x @ c.W.T),
    ('the bias is subtracted', lambda c: c.x @ c.W.T - c.b),
    ('the bias is added twice', lambda c: c.x @ c.W.T + 2 * c.b),
    ('the weights are left out of all but their sign', lambda c: c.x @ np.sign(c.W).T + c.b),
    ('the weights are transposed: x W + b for x Wᵀ + b', lambda c: c.x @ c.W + c.b),
    ('it is the mean over the inputs, not the sum', lambda c: c.x @ c.W.T / c.n_in + c.b),
    ('all samples get the mean of the batch', lambda c: np.tile((c.x @ c.W.T).mean(0) + c.b, (c.B, 1))),
]
LINEAR_INPUT = [
    ('the weights are transposed: dout Wᵀ for dout W', lambda c: c.dout @ c.W.T),
    ('the gradient that arrives is returned as it is, without the weights', lambda c: c.dout),
    ('dout is ignored: each row is the sum of the weights', lambda c: np.ones_like(c.dout) @ c.W),
    ('the product is elementwise, not a matrix product', lambda c: c.dout * c.W),
    ('it is summed over the batch', lambda c: np.tile((c.dout @ c.W).sum(0), (c.B, 1))),
    ('it is the mean over the batch', lambda c: np.tile((c.dout @ c.W).mean(0), (c.B, 1))),
    ('the bias is added', lambda c: c.dout @ c.W + c.b),
    ('multiplied by the input', lambda c: c.dout @ c.W * c.x),
]
LINEAR_WEIGHT = [
    ('it is transposed', lambda c: c.x.T @ c.dout),
    ('dout is ignored: each row is the sum of the inputs', lambda c: np.tile(c.x.sum(0), (c.n_out, 1))),
    ('the input is ignored: each row is the sum of dout', lambda c: np.tile(c.dout.sum(0)[:, None], (1, c.n_in))),
    ('only the first sample counts', lambda c: np.outer(c.dout[0], c.x[0])),
    ('only the last sample counts', lambda c: np.outer(c.dout[-1], c.x[-1])),
    ('sums are multiplied, not the sum of products taken', lambda c: np.outer(c.dout.sum(0), c.x.sum(0))),
    ('means are multiplied, not the sum of products taken', lambda c: np.outer(c.dout.mean(0), c.x.mean(0))),
    ('mean and sum are multiplied', lambda c: np.outer(c.dout.mean(0), c.x.sum(0))),
    ('the weights are multiplied in', lambda c: c.dout.T @ c.x * c.W),
    ('the weights are added', lambda c: c.dout.T @ c.x + c.W),
    ('the output stands where the input should: outᵀ x', lambda c: (c.x @ c.W.T + c.b).T @ c.x),
]
LINEAR_BIAS = [
    ('it is the mean over the batch where the sum belongs: 1/B is in dout already', lambda c: c.dout.mean(0)),
    ('dout is ignored: it is 1', lambda c: np.ones(c.n_out)),
    ('dout is ignored: it is the batch size', lambda c: np.full(c.n_out, c.B)),
    ('a matrix of ones for the identity: every entry is the sum of all', lambda c: np.full(c.n_out, c.dout.sum())),
    ('only the first sample counts', lambda c: c.dout[0]),
    ('only the last sample counts', lambda c: c.dout[-1]),
    ('the sum is taken over the outputs, not over the batch', lambda c: c.dout.sum(1)),
    ('the bias is added', lambda c: c.dout.sum(0) + c.b),
    ('the bias is multiplied in', lambda c: c.dout.sum(0) * c.b),
    ('the gradient is that of the output, squared', lambda c: (c.dout**2).sum(0)),
    ('of the output, not of dout, the sum is taken', lambda c: (c.x @ c.W.T + c.b).sum(0)),
]
ACTIVATION_FORWARD = [
    ('nothing is done: the input is returned', lambda c: c.x),
    ('it is min(0, x)', lambda c: np.minimum(c.x, 0)),
    ('it is the absolute value', lambda c: np.abs(c.x)),
    ('it is the indicator x > 0, not x', lambda c: (c.x > 0).astype(float)),
    ('it is a plain ReLU: the negative side is cut off', lambda c: np.maximum(c.x, 0)),
    ('the sides are exchanged', lambda c: np.where(c.x > 0, c.slope * c.x, c.x)),
    ('the slope has the wrong sign', lambda c: np.where(c.x > 0, c.x, -c.slope * c.x)),
    ("the constructor's argument is ignored", lambda c: c.with_slope(c.default)),
    ('the slope is 0.01 whatever was asked for', lambda c: np.where(c.x > 0, c.x, 0.01 * c.x)),
    ('the − 1 is missing: α exp(x)', lambda c: np.where(c.x > 0, c.x, c.slope * np.exp(c.x))),
    ('the 1 is inside the exponential', lambda c: np.where(c.x > 0, c.x, c.slope * np.exp(c.x - 1))),
    ('α multiplies the exponential alone', lambda c: np.where(c.x > 0, c.x, c.slope * np.exp(c.x) - 1)),
    ('α is left out', lambda c: np.where(c.x > 0, c.x, np.expm1(c.x))),
    ('the sign of the negative side is wrong', lambda c: np.where(c.x > 0, c.x, -c.slope * np.expm1(c.x))),
    ('the negative side is that of a leaky ReLU', lambda c: np.where(c.x > 0, c.x, c.slope * c.x)),
    ('the sum is added: max(0, x) + x', lambda c: np.maximum(c.x, 0) + c.x),
]
ACTIVATION_INPUT = [
    ('dout is ignored: it is the derivative alone', lambda c: c.derivative),
    ('dout is returned as it is: the derivative is taken for 1', lambda c: c.dout),
    ('the derivative is that of a plain ReLU: 0 for negative inputs', lambda c: c.dout * (c.x > 0)),
    ('the sides are exchanged', lambda c: c.dout * np.where(c.x > 0, c.left, 1)),
    ('the mask is taken of dout, not of the input', lambda c: c.dout * np.where(c.dout > 0, 1, c.left)),
    (
        'where dout is positive it is cut by the input: max(0, x) for its derivative',
        lambda c: c.dout * np.maximum(c.x, 0),
    ),
    ('dout is multiplied by the output, not by the derivative', lambda c: c.dout * c.out),
    ('dout is multiplied by the input, not by the derivative', lambda c: c.dout * c.x),
    ('the input is masked, not dout', lambda c: c.x * c.derivative),
    ('dout is left out on the positive side', lambda c: np.where(c.x > 0, 1, c.dout * c.left)),
    ('dout is left out on the negative side', lambda c: np.where(c.x > 0, c.dout, c.left)),
    ('the sign of the negative side is wrong', lambda c: c.dout * np.where(c.x > 0, 1, -c.left)),
    ('α is left out of the derivative', lambda c: c.dout * np.where(c.x > 0, 1, np.exp(c.x))),
    (
        'the derivative of the negative side is the output: + α is missing',
        lambda c: c.dout * np.where(c.x > 0, 1, c.out),
    ),
    ('the derivative of the negative side is the slope α alone', lambda c: c.dout * np.where(c.x > 0, 1, c.slope)),
    ('it is summed over the batch', lambda c: np.tile((c.dout * c.derivative).sum(0), (c.B, 1))),
    (
        'the exponential is taken of the output, not of the input',
        lambda c: c.dout * np.where(c.x > 0, 1, c.slope * np.exp(c.out)),
    ),
]
SOFTMAX_FORWARD = [
    ('it is normalised over the batch (axis 0), not over the classes', lambda c: _softmax(c.x, axis=0)),
    ('the sum is taken over the batch (axis 0), not over the classes', lambda c: _e(c.x) / _e(c.x).sum(0)),
    ('it is normalised over all entries of the batch', lambda c: np.exp(c.x) / np.exp(c.x).sum()),
    ('the exponentials are not normalised', lambda c: np.exp(c.x)),
    (
        'the exponentials are shifted by the maximum and not normalised',
        lambda c: np.exp(c.x - c.x.max(1, keepdims=True)),
    ),
    ('it is the logarithm of the softmax', lambda c: np.log(_softmax(c.x))),
    ('it is a sigmoid of each entry', lambda c: 1 / (1 + np.exp(-c.x))),
    ('the sign of the exponent is wrong', lambda c: _softmax(-c.x)),
    ('the entries are normalised without the exponential', lambda c: c.x / c.x.sum(1, keepdims=True)),
    (
        'the shift is applied to the numerator alone',
        lambda c: np.exp(c.x - c.x.max(1, keepdims=True)) / np.exp(c.x).sum(1, keepdims=True),
    ),
    ('softmax is applied twice', lambda c: _softmax(_softmax(c.x))),
    ('it is divided by the maximum, not shifted by it', lambda c: _softmax(c.x / c.x.max(1, keepdims=True))),
    ('an epsilon of 1e-3 or so is added', lambda c: _softmax(c.x) + 1e-3),
]
SOFTMAX_INPUT = [
    (
        'it is the derivative of a sigmoid, x (1 − x): the diagonal of the Jacobian alone',
        lambda c: c.p * (1 - c.p) * c.dout,
    ),
    ('only the diagonal term x ⊙ dout is there: − x xᵀ is missing', lambda c: c.p * c.dout),
    ('the diagonal is missing: − x xᵀ dout alone', lambda c: -c.p * (c.p * c.dout).sum(1, keepdims=True)),
    ('the sum is not multiplied by x', lambda c: c.p * c.dout - (c.p * c.dout).sum(1, keepdims=True)),
    ('the second term is added, not subtracted', lambda c: c.p * (c.dout + (c.p * c.dout).sum(1, keepdims=True))),
    ('the sum is taken of dout alone', lambda c: c.p * (c.dout - c.dout.sum(1, keepdims=True))),
    ('the sum is a mean over the classes', lambda c: c.p * (c.dout - (c.p * c.dout).mean(1, keepdims=True))),
    ('the sum is taken over the batch (axis 0)', lambda c: c.p * (c.dout - (c.p * c.dout).sum(0))),
    ('the sum is taken over the whole batch', lambda c: c.p * (c.dout - (c.p * c.dout).sum())),
    ('dout is ignored', lambda c: c.p * (1 - c.p)),
    ('dout is returned as it is', lambda c: c.dout),
    ('one Jacobian, summed over the batch, is used for every sample', lambda c: c.dout @ _mixed_jacobian(c.p)),
    (
        'one Jacobian, that of the mean, is used for every sample',
        lambda c: c.dout @ (np.diag(c.p.mean(0)) - np.outer(c.p.mean(0), c.p.mean(0))),
    ),
    (
        'the Jacobian is I − x xᵀ: the diagonal should be diag(x)',
        lambda c: c.dout - c.p * (c.p * c.dout).sum(1, keepdims=True),
    ),
    ('it is x − dout, a formula for softmax and cross entropy together', lambda c: c.p - c.dout),
    (
        'the logits stand where the probabilities should',
        lambda c: c.x * (c.dout - (c.x * c.dout).sum(1, keepdims=True)),
    ),
]
CROSS_ENTROPY_FORWARD = [
    ('it is the sum over the batch, not the mean', lambda c: -np.sum(c.t * np.log(c.p))),
    ('the mean runs over batch and classes: divide by B, not by B C', lambda c: -np.mean(c.t * np.log(c.p))),
    ('the minus is missing', lambda c: np.sum(c.t * np.log(c.p)) / c.B),
    ('an epsilon of 0.1 stands inside the logarithm', lambda c: -np.sum(c.t * np.log(c.p + 1e-1)) / c.B),
    ('an epsilon of 0.01 stands inside the logarithm', lambda c: -np.sum(c.t * np.log(c.p + 1e-2)) / c.B),
    ('an epsilon of 0.001 stands inside the logarithm', lambda c: -np.sum(c.t * np.log(c.p + 1e-3)) / c.B),
    ('an epsilon of 0.0001 stands inside the logarithm', lambda c: -np.sum(c.t * np.log(c.p + 1e-4)) / c.B),
    ('the logarithm has base 2', lambda c: -np.sum(c.t * np.log2(c.p)) / c.B),
    ('the logarithm has base 10', lambda c: -np.sum(c.t * np.log10(c.p)) / c.B),
    ('log and sum are exchanged: the logarithm of the batch', lambda c: -np.log(np.sum(c.t * c.p))),
    ('log and mean are exchanged', lambda c: -np.log(np.sum(c.t * c.p) / c.B)),
    ('x and y are exchanged', lambda c: -np.sum(c.p * np.log(np.where(c.t > 0, c.t, 1e-12))) / c.B),
    (
        'a binary cross entropy of each class: log(1 − x) does not belong here',
        lambda c: -np.sum(c.t * np.log(c.p) + (1 - c.t) * np.log(1 - c.p)) / c.B,
    ),
    ('a softmax is taken of what are probabilities already', lambda c: -np.sum(c.t * np.log(_softmax(c.p))) / c.B),
    ('it is the entropy of x, without the labels', lambda c: -np.sum(c.p * np.log(c.p)) / c.B),
    ('only the first sample counts', lambda c: -np.sum(c.t[0] * np.log(c.p[0]))),
    ('the logarithm is left out', lambda c: -np.sum(c.t * c.p) / c.B),
]
CROSS_ENTROPY_INPUT = [
    ('1/B is missing: the loss is a mean', lambda c: -c.t / c.p),
    ('1/B is there twice', lambda c: -c.t / c.p / c.B**2),
    ('the minus is missing', lambda c: c.t / c.p / c.B),
    ('minus and 1/B are missing', lambda c: c.t / c.p),
    ('it is divided by the number of classes too', lambda c: -c.t / c.p / c.p.size),
    ('it is divided by the number of classes, not by the batch size', lambda c: -c.t / c.p / c.p.shape[1]),
    ('it is x − y, the gradient of softmax and cross entropy together, at the logits', lambda c: (c.p - c.t) / c.B),
    ('it is x − y, the gradient of softmax and cross entropy together, and 1/B is missing', lambda c: c.p - c.t),
    ('it is y − x, a formula for the logits, with the wrong sign', lambda c: (c.t - c.p) / c.B),
    (
        'a scalar stands for a vector: every class has the value of the true one',
        lambda c: np.tile((-c.t / c.p).sum(1, keepdims=True), (1, c.p.shape[1])) / c.B,
    ),
    (
        'a scalar stands for a vector, and the sign is lost',
        lambda c: np.tile((c.t / c.p).sum(1, keepdims=True), (1, c.p.shape[1])) / c.B,
    ),
    ('−1/x is there for every class: the labels are ignored', lambda c: -1 / c.p / c.B),
    ('−1/x is there for every class, and 1/B is missing', lambda c: -1 / c.p),
    ('the logarithm is differentiated as itself: −y log x', lambda c: -c.t * np.log(c.p) / c.B),
    ('it is −y x: the probability should divide', lambda c: -c.t * c.p / c.B),
    ('it is −y: the division by x is missing', lambda c: -c.t / c.B),
    ('x and y are exchanged', lambda c: -c.p / np.where(c.t > 0, c.t, 1e-12) / c.B),
    ('it is the gradient of a binary cross entropy', lambda c: -(c.t / c.p - (1 - c.t) / (1 - c.p)) / c.B),
    ('an epsilon of 0.001 stands in the denominator', lambda c: -c.t / (c.p + 1e-3) / c.B),
    ('an epsilon of 0.01 stands in the denominator', lambda c: -c.t / (c.p + 1e-2) / c.B),
]


def _mixed_jacobian(p):
    """What p.T @ p makes of a batch of softmaxes: one matrix, in which the samples are mixed."""
    return np.diag(p.sum(0)) - p.T @ p
