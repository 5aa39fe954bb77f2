"""Numerical gradients by central differences, the judge of every derivation in this repo.

    df/dx_i  ≈  (f(x + h e_i) − f(x − h e_i)) / 2h

The truncation error falls as h², the rounding error grows as ε/h; in float64 their sum is smallest, about 1e-10 of f's
scale, near h = ε^(1/3) ≈ 1e-5 (Press et al., Numerical Recipes, section 5.7). Float32 is refused: its rounding error
alone would be 1e-2.
"""

import numpy as np


def _check(x):
    if not isinstance(x, np.ndarray) or x.dtype != np.float64:
        raise ValueError(f'a numerical gradient needs a float64 array, got {getattr(x, "dtype", type(x).__name__)}')


def eval_numerical_gradient(f, x, verbose=True, h=1e-5):
    """Gradient of a scalar function at x.

    Args:
        f: function of one array, returning a number. It is given x itself, changed in place by ±h and restored after.
        x: float64 array of any shape.
        verbose: print each index with its partial derivative.
        h: step.
    Returns:
        array of x's shape with df/dx_i.
    Raises:
        ValueError: if x is not a float64 array.
    """
    _check(x)
    grad = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        value = x[index]
        try:
            x[index] = value + h
            above = float(f(x))  # a copy: f may return a part of x itself
            x[index] = value - h
            below = float(f(x))
        finally:
            x[index] = value
        grad[index] = (above - below) / (2 * h)
        if verbose:
            print(index, grad[index])
    return grad


def eval_numerical_gradient_array(f, x, df, h=1e-5):
    """Gradient of Σ f(x) · df at x: what a module's backward returns for dout = df.

    Args:
        f: function of one array, returning an array of df's shape; it is given x itself, as in eval_numerical_gradient.
        x: float64 array of any shape.
        df: array of the shape of f(x), the upstream gradient.
        h: step.
    Returns:
        array of x's shape with Σ_j df_j ∂f_j/∂x_i.
    Raises:
        ValueError: if x is not a float64 array, or if the shapes of f(x) and df differ.
    """
    _check(x)
    if np.shape(f(x)) != np.shape(df):
        raise ValueError(f'df must have the shape of f(x), {np.shape(f(x))}, got {np.shape(df)}')

    def above_minus_below(index):
        # The difference is taken element by element, before the sum, so that what is common to both cancels exactly.
        value = x[index]
        try:
            x[index] = value + h
            above = np.array(f(x))
            x[index] = value - h
            below = np.array(f(x))
        finally:
            x[index] = value
        return np.sum((above - below) * df)

    grad = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        grad[index] = above_minus_below(index) / (2 * h)
    return grad


def rel_error(x, y):
    """Largest difference of two arrays, relative to the sum of their magnitudes, element by element.

    max_i |x_i − y_i| / max(1e-8, |x_i| + |y_i|)

    Whole numbers are taken as float64, in which 1 − 2 is not 255.

    Raises:
        ValueError: if the shapes differ.
    """
    x, y = (a if a.dtype.kind in 'fc' else a.astype(np.float64) for a in map(np.asarray, (x, y)))
    if x.shape != y.shape:
        raise ValueError(f'both arrays must have one shape, got {x.shape} and {y.shape}')
    return np.max(np.abs(x - y) / np.maximum(1e-8, np.abs(x) + np.abs(y)), initial=0.0)
