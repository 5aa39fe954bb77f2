"""Parameters and gradients of their linear layers, in whatever layout they are stored."""

import numpy as np

from .verdicts import Missing, Wrong


def _store(module, kind):
    """The dict that holds parameters or gradients: by the assignment's name, by one like it, or the attributes."""
    attributes = vars(module)
    if isinstance(attributes.get(kind), dict):
        return attributes[kind]
    like = 'grad' if kind == 'grads' else 'param'
    for name, value in attributes.items():
        if like in name.lower() and isinstance(value, dict):
            return value
    return attributes


class Linear:
    """Their linear layer, with weight and bias seen as (out, in) and (out,) however they are stored.

    is_in_out says how a square weight is stored, which its shape does not tell.

    Raises:
        Wrong: if it holds no weight or no bias of these sizes.
    """

    def __init__(self, module, n_in, n_out, is_in_out=False):
        self.module, self.n_in, self.n_out = module, n_in, n_out
        self.params, self.grads = _store(module, 'params'), _store(module, 'grads')
        self.weight = self._key('weight', lambda a: a.shape in ((n_out, n_in), (n_in, n_out)))
        self.bias = self._key('bias', lambda a: a.size == n_out and a.shape not in ((n_out, n_in), (n_in, n_out)))
        self.is_in_out = self.params[self.weight].shape == (n_in, n_out) if n_in != n_out else is_in_out

    def _key(self, name, fits):
        arrays = {k: v for k, v in self.params.items() if isinstance(v, np.ndarray) and not self._is_grad(k)}
        if name in arrays and not fits(arrays[name]):
            sizes = f'{self.n_in} inputs and {self.n_out} outputs'
            raise Wrong(f"params['{name}'] has the shape {arrays[name].shape} for {sizes}")
        candidates = [key for key in (name, *arrays) if key in arrays and fits(arrays[key])]
        if not arrays:
            raise Missing(f'{type(self.module).__name__} holds no parameters: not written yet')
        if not candidates:
            raise Wrong(f"there is no array params['{name}'] in {type(self.module).__name__}")
        return candidates[0]

    def _is_grad(self, key):
        return self.params is self.grads and (str(key).startswith('d') or 'grad' in str(key).lower())

    def set(self, W, b):
        """Sets the parameters in their own storage; what is not float64 is replaced, so that differences are exact."""
        for key, value in [(self.weight, W.T if self.is_in_out else W), (self.bias, b)]:
            theirs = self.params[key]
            if theirs.dtype == np.float64:
                theirs[...] = value.reshape(theirs.shape)
            else:
                self.params[key] = value.reshape(theirs.shape).astype(np.float64)

    def grad(self, name):
        """The gradient of 'weight' or 'bias' as (out, in) or (out,); Wrong if the update would not fit it."""
        key = getattr(self, name)
        if self.params is self.grads:
            keys = [k for k in self.grads if self._is_grad(k) and str(key).lower()[:1] in str(k).lower()]
            key = keys[0] if keys else None
        if self.grads.get(key) is None:
            raise Missing(f"backward sets no grads['{name}']")
        grad, param = np.asarray(self.grads[key]), self.params[getattr(self, name)]
        if name == 'bias':
            try:
                fits = np.broadcast_shapes(grad.shape, param.shape)
            except ValueError:
                fits = ()
            if grad.size != self.n_out or np.prod(fits) != self.n_out:
                hint = 'keepdims, or a sum over the other axis?' if grad.size == self.n_out else ''
                raise Wrong(f'the gradient has the shape {grad.shape}, the bias {param.shape}', hint)
            return grad.reshape(self.n_out).astype(np.float64)
        if grad.shape != param.shape:
            turned = grad.shape == param.shape[::-1]
            hint = 'it is transposed: an update would not fit the weight' if turned else ''
            raise Wrong(f'the gradient has the shape {grad.shape}, the weight {param.shape}', hint)
        return (grad.T if self.is_in_out else grad).astype(np.float64)
