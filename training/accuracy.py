"""The share of predictions that are right, of NumPy's arrays and of torch's tensors alike."""

import numpy as np


def accuracy(predictions, targets):
    """Fraction of rows of predictions (B, C) whose largest entry is at the target, as a scalar of their own kind.

    Targets are classes (B,), or one-hot or shares of all classes (B, C), of which the largest counts.

    Raises:
        ValueError: if the shapes do not go together.
    """
    if targets.shape not in (predictions.shape, predictions.shape[:1]):
        B, C = predictions.shape
        raise ValueError(f'expected targets of shape ({B},) or ({B}, {C}), got {tuple(targets.shape)}')
    classes = targets.argmax(1) if targets.ndim == 2 else targets
    right = predictions.argmax(1) == classes
    return right.mean() if isinstance(right, np.ndarray) else right.float().mean()
