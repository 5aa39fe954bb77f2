"""Wrong formulas of batch normalisation, each with the sentence that says so; see formulas.py."""

import numpy as np


def _forward(c, var=None, mean=None, gamma=None, beta=None, scale=None):
    x_c = c.x - (c.x.mean(0) if mean is None else mean)
    scale = (c.var + c.eps if var is None else var + c.eps) ** -0.5 if scale is None else scale
    return (c.gamma if gamma is None else gamma) * x_c * scale + (c.beta if beta is None else beta)


FORWARD = [
    (
        "the variance is divided by B − 1, Bessel's correction: by B it should be",
        lambda c: _forward(c, c.x.var(0, ddof=1)),
    ),
    ('eps stands outside the root', lambda c: _forward(c, scale=1 / (c.var**0.5 + c.eps))),
    (
        'eps stands outside the root, and the deviation is divided by B − 1',
        lambda c: _forward(c, scale=1 / (c.x.std(0, ddof=1) + c.eps)),
    ),
    ('eps is left out', lambda c: _forward(c, scale=c.var**-0.5)),
    ('eps is 1e-5 whatever was asked for', lambda c: _forward(c, scale=(c.var + 1e-5) ** -0.5)),
    ('eps is 1e-8 whatever was asked for', lambda c: _forward(c, scale=(c.var + 1e-8) ** -0.5)),
    ('eps is squared', lambda c: _forward(c, scale=(c.var + c.eps**2) ** -0.5)),
    ('eps is subtracted', lambda c: _forward(c, scale=(c.var - c.eps) ** -0.5)),
    ('the root is missing: it is divided by the variance', lambda c: _forward(c, scale=1 / (c.var + c.eps))),
    (
        'the root of the variance is divided by, eps added after both roots',
        lambda c: _forward(c, scale=1 / (c.var**0.5 + c.eps**0.5)),
    ),
    ('it is multiplied by the deviation, not divided', lambda c: _forward(c, scale=(c.var + c.eps) ** 0.5)),
    ('the mean is not subtracted', lambda c: _forward(c, mean=0)),
    ('the mean is subtracted after the division', lambda c: c.gamma * (c.x * c.rstd - c.x.mean(0)) + c.beta),
    ('the variance is not divided by', lambda c: _forward(c, scale=1)),
    (
        'the variance is the mean of the squares: the mean is not subtracted first',
        lambda c: _forward(c, (c.x**2).mean(0)),
    ),
    ('the variance is a sum: 1/B is missing', lambda c: _forward(c, c.var * c.B)),
    ('gamma is left out', lambda c: _forward(c, gamma=1)),
    ('beta is left out', lambda c: _forward(c, beta=0)),
    ('beta is subtracted', lambda c: _forward(c, beta=-c.beta)),
    ('gamma and beta are left out', lambda c: c.x_hat),
    ('gamma and beta are exchanged', lambda c: _forward(c, gamma=c.beta, beta=c.gamma)),
    ('gamma multiplies beta too', lambda c: c.gamma * (c.x_hat + c.beta)),
    ('the statistics are taken over the neurons of a sample, not over the batch', lambda c: _over(c, 1)),
    ('the statistics are taken over all entries of the batch', lambda c: _over(c, None)),
]
INPUT = [
    ("the mean's path is missing", lambda c: c.gamma * c.rstd * (c.dout - c.x_hat * c.dgamma / c.B)),
    ("the variance's path is missing", lambda c: c.gamma * c.rstd * (c.dout - c.dbeta / c.B)),
    ('the paths through mean and variance are missing', lambda c: c.gamma * c.rstd * c.dout),
    ('gamma is left out', lambda c: c.rstd * (c.dout - c.dbeta / c.B - c.x_hat * c.dgamma / c.B)),
    ('gamma is there twice', lambda c: c.gamma * c.dx),
    ('the division by the deviation is left out', lambda c: c.dx / c.rstd),
    ('it is divided by the variance, not by its root', lambda c: c.dx * c.rstd),
    ('it is multiplied by the deviation, not divided', lambda c: c.dx / c.rstd**2),
    (
        "1/B is missing in the mean's and the variance's path",
        lambda c: c.gamma * c.rstd * (c.dout - c.dbeta - c.x_hat * c.dgamma),
    ),
    ("1/B is missing in the mean's path", lambda c: c.gamma * c.rstd * (c.dout - c.dbeta - c.x_hat * c.dgamma / c.B)),
    (
        "1/B is missing in the variance's path",
        lambda c: c.gamma * c.rstd * (c.dout - c.dbeta / c.B - c.x_hat * c.dgamma),
    ),
    (
        "the sign of the mean's path is wrong",
        lambda c: c.gamma * c.rstd * (c.dout + c.dbeta / c.B - c.x_hat * c.dgamma / c.B),
    ),
    (
        "the sign of the variance's path is wrong",
        lambda c: c.gamma * c.rstd * (c.dout - c.dbeta / c.B + c.x_hat * c.dgamma / c.B),
    ),
    (
        "in the variance's path the centred input stands for the normalised one",
        lambda c: c.gamma * c.rstd * (c.dout - c.dbeta / c.B - c.x_c * c.dgamma / c.B),
    ),
    (
        "in the variance's path gamma's gradient is of centred input",
        lambda c: c.gamma * c.rstd * (c.dout - c.dbeta / c.B - c.x_hat * (c.dout * c.x_c).sum(0) / c.B),
    ),
    (
        "the variance's path is half of what it should be: 2 (x − mean) / B",
        lambda c: c.gamma * c.rstd * (c.dout - c.dbeta / c.B - c.x_hat * c.dgamma / c.B / 2),
    ),
    (
        "the variance's path is twice what it should be: −½ (var + eps)^(−3/2)",
        lambda c: c.gamma * c.rstd * (c.dout - c.dbeta / c.B - 2 * c.x_hat * c.dgamma / c.B),
    ),
    ('eps is left out', lambda c: _dx(c, c.var**-0.5)),
    ("B − 1 stands where B should, Bessel's correction", lambda c: _dx(c, (c.x.var(0, ddof=1) + c.eps) ** -0.5)),
    ('dout is returned as it is', lambda c: c.dout),
    ('dout is multiplied by gamma alone', lambda c: c.gamma * c.dout),
]
GAMMA = [
    ('it is taken of the centred input, not of the normalised one', lambda c: (c.dout * c.x_c).sum(0)),
    ('it is taken of the input, not of the normalised one', lambda c: (c.dout * c.x).sum(0)),
    ('it is taken of the output', lambda c: (c.dout * c.out).sum(0)),
    ('the normalised input is left out: it is the gradient of beta', lambda c: c.dbeta),
    ('gamma is multiplied in', lambda c: c.dgamma * c.gamma),
    ('dout is ignored', lambda c: c.x_hat.sum(0)),
    ('it is the mean over the batch: 1/B is in dout already', lambda c: c.dgamma / c.B),
    ('sums are multiplied, not the sum of products taken', lambda c: c.dbeta * c.x_hat.sum(0)),
    ('eps is left out', lambda c: (c.dout * c.x_c * c.var**-0.5).sum(0)),
    ('it is divided by the deviation twice', lambda c: c.dgamma * c.rstd),
]
BETA = [
    ('it is the mean over the batch: 1/B is in dout already', lambda c: c.dbeta / c.B),
    ('gamma is multiplied in', lambda c: c.dbeta * c.gamma),
    ('it is the gradient of gamma', lambda c: c.dgamma),
    ('dout is ignored: it is 1', lambda c: np.ones_like(c.beta)),
    ('dout is ignored: it is the batch size', lambda c: np.full_like(c.beta, c.B)),
    ('only the first sample counts', lambda c: c.dout[0]),
]
GRADIENTS = {'x': INPUT, 'gamma': GAMMA, 'beta': BETA}


def _over(c, axis):
    x_c = c.x - c.x.mean(axis, keepdims=True)
    return c.gamma * x_c / (c.x.var(axis, keepdims=True) + c.eps) ** 0.5 + c.beta


def _dx(c, rstd):
    x_hat = c.x_c * rstd
    return c.gamma * rstd * (c.dout - c.dbeta / c.B - x_hat * (c.dout * x_hat).sum(0) / c.B)
