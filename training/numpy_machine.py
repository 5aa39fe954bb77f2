"""Where NumPy computes: one process, in the precision that the flags ask for."""

import io
import json
import time

import numpy as np

from training.files import checked_archive
from training.processes import Alone


def numpy_random_state():
    """The state of NumPy's global random numbers, in arrays and numbers."""
    _, keys, *rest = np.random.get_state()
    return {'keys': keys.astype(np.int64), 'rest': rest}


def set_numpy_random_state(state):
    position, has_gauss, cached_gaussian = state['rest']
    np.random.set_state(('MT19937', np.asarray(state['keys'], np.uint32), position, has_gauss, cached_gaussian))


class NumpyMachine:
    """One process on the CPU.

    Attributes:
        processes: Alone.
        started: time at which the run began, by time.perf_counter.
        compute: what the numbers of a run depend on besides its flags.
        checkpoint: name of the file that holds the state of a run.
        kept: function that makes of a scalar what can be kept until it is read.
        read_every: steps after which scalars are read.
    """

    processes, compute, checkpoint, read_every = Alone(), {}, 'checkpoint.npz', 1
    kept = float

    def __init__(self, flags):
        self.started = time.perf_counter()
        self.dtype = np.dtype(flags.dtype)

    def __str__(self):
        return f'NumPy in {self.dtype}'

    def next_batch(self, data_set, batch_size):
        """The next batch: images (B, 3, 32, 32) in this machine's precision, and labels (B,)."""
        x, y = data_set.next_batch(batch_size)
        return x.astype(self.dtype, copy=False), y

    def chunks(self, data_set, size):
        """All examples in file order, as next_batch gives them, at most `size` at a time."""
        return ((x.astype(self.dtype, copy=False), y) for x, y in data_set.chunks(size))

    def read(self, figures):
        """What was kept, as floats, which it is."""
        return figures

    random_state = staticmethod(numpy_random_state)
    set_random_state = staticmethod(set_numpy_random_state)

    def dump(self, state):
        """A nested dict as the bytes of an .npz file: arrays as they are, all else as JSON, nothing that runs."""
        file = io.BytesIO()
        np.savez(file, **dict(_flattened(state)))
        return file.getvalue()

    @staticmethod
    def load(path):
        """The nested dict that dump wrote, read without pickles."""
        state = {}
        with np.load(checked_archive(path), allow_pickle=False) as arrays:
            for name, value in arrays.items():
                *folders, last = name.split('.')
                place = state
                for folder in folders:
                    place = place.setdefault(folder, {})
                place[last] = json.loads(str(value)) if value.dtype.kind == 'U' else value
        return state


def _flattened(state, prefix=''):
    """The leaves of a nested dict with their places, as ('model.layer0.weight', array)."""
    for name, value in state.items():
        if isinstance(value, np.ndarray):
            yield prefix + name, value
        elif isinstance(value, dict) and any(isinstance(v, (dict, np.ndarray)) for v in value.values()):
            yield from _flattened(value, f'{prefix}{name}.')
        else:
            yield prefix + name, np.array(json.dumps(value))
