"""Question 1.2: the modules of an MLP in NumPy, each with a forward and a hand-written backward pass.

Every module maps x (B, in) to out (B, out), a row per sample. `backward(dout)` takes the gradient of the loss L with
respect to `out` and returns `dx`, that with respect to x. L is the mean over the batch, so the 1/B is applied
once, by the loss, and never again. Inputs are never modified, and a result has the dtype of input and parameters.

Numbers in parentheses are those of the equations in report/report.pdf; report/equations checks each by itself.
"""

import numpy as np


def _check_shape(name, array, expected):
    """Raises ValueError if array's shape is not `expected`, in which a string stands for a free dimension."""
    fits = array.ndim == len(expected) and all(
        isinstance(e, str) or n == e for n, e in zip(array.shape, expected, strict=True)
    )
    if not fits:
        wanted = ', '.join(str(e) for e in expected) + (',' if len(expected) == 1 else '')
        raise ValueError(f'{name} must have shape ({wanted}), got {array.shape}')


def _check_float(x):
    """Raises TypeError if x holds integers, in which a slope between 0 and 1 would be cut to 0."""
    if x.dtype.kind != 'f':
        raise TypeError(f'x must be float32 or float64, got {x.dtype}')


def smallest_probability(dtype):
    """What stands for a probability that underflows: 1e-31 in float32, 1e-292 in float64.

    It is so far above the subnormal numbers, which processors multiply very slowly, that no gradient becomes one.

    Raises:
        TypeError: if dtype is no float of 32 bits or more: the number would be far too large in float16.
    """
    if np.dtype(dtype).kind != 'f' or np.dtype(dtype).itemsize < 4:
        raise TypeError(f'probabilities must be float32 or float64, got {dtype}')
    return np.finfo(dtype).tiny / np.finfo(dtype).eps


class LinearModule:
    """Linear layer.

    Forward:   x̃ = x Wᵀ + b                       (1.1), of a batch (1.19)
    Backward:  ∂L/∂W = (∂L/∂x̃)ᵀ x                 (1.15), of a batch (1.24)
               ∂L/∂b = Σ_rows ∂L/∂x̃               (1.16), of a batch (1.25)
               ∂L/∂x = ∂L/∂x̃ W                    (1.13), of a batch within (1.23)

    Shape: x (B, in), out (B, out), params and grads 'weight' (out, in) and 'bias' (out,).

    Args:
        in_features, out_features: sizes, positive integers.
        dtype: of the parameters. They are drawn in float64 and rounded, so that a seed gives one network.
    Raises:
        TypeError: if dtype is no float: weights of 1e-4 would all be 0, and stay so.
        ValueError: if a size is not positive, or if x or dout has a wrong shape.
    """

    def __init__(self, in_features, out_features, dtype=np.float64):
        if np.dtype(dtype).kind != 'f':
            raise TypeError(f'dtype must be float32 or float64, got {np.dtype(dtype)}')
        if in_features < 1 or out_features < 1:
            raise ValueError(f'in_features and out_features must be positive, got {in_features} and {out_features}')
        # Column by column in memory, as x Wᵀ reads it: that product is then a sixth faster.
        weight = np.random.normal(0, 1e-4, (out_features, in_features)).astype(dtype, order='F')
        bias = np.zeros(out_features, dtype)
        self.params = {'weight': weight, 'bias': bias}
        self.grads = {'weight': np.zeros_like(weight), 'bias': np.zeros_like(bias)}

    def forward(self, x):
        W, b = self.params['weight'], self.params['bias']
        _check_shape('x', x, ('B', W.shape[1]))
        self.x = x
        out = x @ W.T  # (B, out)
        out += b
        return out

    def backward(self, dout, input_gradient=True):
        """Sets `grads` and returns dx, or None with input_gradient=False: the first layer has no use for it.

        The gradient of W is ∂L/∂W = doutᵀ x, in plain code `dout.T @ self.x`. Below, the same product is written from
        the other side, so that it comes in the memory order of W and the update reads both alike.
        """
        W = self.params['weight']
        _check_shape('dout', dout, (len(self.x), W.shape[0]))
        self.grads['weight'] = (self.x.T @ dout).T  # dout.T @ self.x, (out, in)
        self.grads['bias'] = dout.sum(axis=0)  # (out,)
        return dout @ W if input_gradient else None  # (B, in)


class ReLUModule:
    """Rectified linear unit.

    Forward:   x = max(0, x̃)                       (1.2)
    Backward:  ∂L/∂x̃ = ∂L/∂x ⊙ 1[x̃ > 0]            (1.14), of a batch within (1.23)

    It is the product with the Jacobian diag(1[x̃ > 0]) (1.8), with the subgradient 0 taken at 0.

    Shape: any, the same for x, out, dout and dx.
    """

    def forward(self, x):
        self.positive = x > 0
        return np.maximum(x, 0)

    def backward(self, dout):
        _check_shape('dout', dout, self.positive.shape)
        return dout * self.positive


class LeakyReLUModule:
    """Leaky rectified linear unit (Maas, Hannun and Ng, 2013).

    Forward:   x = x̃ if x̃ > 0 else a x̃, with the slope a = neg_slope
    Backward:  ∂L/∂x̃ = ∂L/∂x ⊙ (1 if x̃ > 0 else a), which is ReLU's (1.14) with another slope below 0

    Shape: any, the same for x, out, dout and dx.
    Raises:
        TypeError: if x holds integers.
    """

    def __init__(self, neg_slope=0.01):
        self.neg_slope = neg_slope

    def forward(self, x):
        _check_float(x)
        self.slope = np.where(x > 0, 1, self.neg_slope).astype(x.dtype)
        return x * self.slope

    def backward(self, dout):
        _check_shape('dout', dout, self.slope.shape)
        return dout * self.slope


class ELUModule:
    """Exponential linear unit (Clevert, Unterthiner and Hochreiter, 2016).

    Forward:   x = x̃ if x̃ > 0 else α (exp(x̃) − 1)
    Backward:  ∂L/∂x̃ = ∂L/∂x ⊙ (1 if x̃ > 0 else α exp(x̃)), which is ReLU's (1.14) with another slope below 0

    Shape: any, the same for x, out, dout and dx.
    Raises:
        TypeError: if x holds integers.
    """

    def __init__(self, alpha=1.0):
        self.alpha = alpha

    def forward(self, x):
        _check_float(x)
        negative = np.minimum(x, 0)  # exp of a large positive x̃ would overflow
        self.slope = np.where(x > 0, 1, self.alpha * np.exp(negative)).astype(x.dtype)
        return np.where(x > 0, x, self.alpha * np.expm1(negative)).astype(x.dtype)

    def backward(self, dout):
        _check_shape('dout', dout, self.slope.shape)
        return dout * self.slope


class SoftMaxModule:
    """Softmax over the classes of each sample.

    Forward:   x_i = exp(x̃_i) / Σ_j exp(x̃_j)                     (1.3)
               = exp(x̃_i − m) / Σ_j exp(x̃_j − m)                 (1.26)
    Backward:  ∂L/∂x̃ = x ⊙ (∂L/∂x − Σ_j x_j ∂L/∂x_j)             (1.21)

    m is the row's maximum, so that no exponent is positive. The backward pass is the product with the Jacobian
    diag(x) − x xᵀ (1.7) of each row, without forming the matrix.

    A probability is never below `smallest_probability`. Cross entropy then divides by something, and the gradient at
    the logits is (x − t) / B (1.22) to rounding error however wrong the network is.

    Shape: x and out (B, C).
    Raises:
        ValueError: if x or dout has a wrong shape.
    """

    def forward(self, x):
        _check_shape('x', x, ('B', 'C'))
        exp = np.exp(x - x.max(axis=1, keepdims=True))
        exp /= exp.sum(axis=1, keepdims=True)
        self.out = np.maximum(exp, smallest_probability(x.dtype))
        return self.out.copy()  # backward needs them, whatever becomes of the result

    def backward(self, dout):
        _check_shape('dout', dout, self.out.shape)
        return self.out * (dout - np.sum(self.out * dout, axis=1, keepdims=True))


class CrossEntropyModule:
    """Cross entropy of probabilities x and targets t, the mean over the batch.

    Forward:   L = −1/B Σ_b Σ_i t_bi log x_bi      (1.4), of a batch (1.18)
    Backward:  ∂L/∂x_bi = −t_bi / (B x_bi)         (1.5), of a batch (1.20)

    Both are functions of their arguments alone: nothing is kept in between. A probability below
    `smallest_probability` counts as that number, so that the loss is finite.

    Shape: x (B, C); y (B, C), one-hot or any distribution, or (B,), integer classes.
    Raises:
        TypeError: if classes are no integers.
        ValueError: if a shape is wrong, or if a class is not in 0 ... C−1.
    """

    @staticmethod
    def _targets(x, y):
        """y as an array of x's shape and dtype."""
        _check_shape('x', x, ('B', 'C'))
        y = np.asarray(y)
        if y.ndim == 1:
            if y.dtype.kind not in 'iu':
                raise TypeError(f'classes must be integers, got {y.dtype}')
            _check_shape('y', y, (len(x),))
            if np.any((y < 0) | (y >= x.shape[1])):
                raise ValueError(f'classes must lie in 0 ... {x.shape[1] - 1}, got {y.min()} ... {y.max()}')
            return np.eye(x.shape[1], dtype=x.dtype)[y]
        _check_shape('y', y, x.shape)
        return y.astype(x.dtype, copy=False)

    def forward(self, x, y):
        t = self._targets(x, y)
        log_x = np.log(np.maximum(x, smallest_probability(x.dtype)))
        return np.mean(np.sum(-t * log_x, axis=1))  # not -0.0 for a perfect prediction

    def backward(self, x, y):
        t = self._targets(x, y)
        return -t / np.maximum(x, smallest_probability(x.dtype)) / len(x)
