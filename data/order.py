"""The order in which the examples of a data set come."""

import operator

import numpy as np


class Order:
    """The numbers 0..N - 1 in batches, in an order that follows from NumPy's global random state alone.

    The first epoch counts from 0. Whenever fewer than `batch_size` numbers are left, they are dropped, `epochs` grows
    by one, and the current order is permuted by one `np.random.shuffle(np.arange(N))`.

    Args:
        N: how many there are.
    Attributes:
        epochs: how often the order has come to its end.
    """

    def __init__(self, N):
        self._rows, self._index, self.epochs = np.arange(N), 0, 0

    def next_batch(self, batch_size):
        """The next `batch_size` numbers, int64 (batch_size,)."""
        N = len(self._rows)
        if self._index + batch_size > N:
            self.epochs += 1
            self._index = 0
            perm = np.arange(N)
            np.random.shuffle(perm)
            self._rows = self._rows[perm]
        batch = self._rows[self._index : self._index + batch_size]
        self._index += batch_size
        return batch

    def state_dict(self):
        """The place in the order; with NumPy's random state it is all that is needed to go on."""
        return {'order': self._rows.copy(), 'index_in_epoch': self._index, 'epochs_completed': self.epochs}

    def load_state_dict(self, state):
        """Go to the place that `state_dict` returned.

        Raises:
            ValueError: the state is not one of N numbers; nothing has changed then.
        """
        rows, N = state['order'], len(self._rows)
        index, epochs = operator.index(state['index_in_epoch']), operator.index(state['epochs_completed'])
        if rows.shape != (N,) or not np.array_equal(np.sort(rows), np.arange(N)):
            raise ValueError(f'expected an order with each of 0..{N - 1} once, got {rows.dtype} {rows.shape}')
        if not 0 <= index <= N or epochs < 0:
            raise ValueError(
                f'expected index_in_epoch from 0 to {N} and epochs_completed from 0 on, got {index} and {epochs}'
            )
        self._rows, self._index, self.epochs = rows.astype(np.int64), index, epochs
