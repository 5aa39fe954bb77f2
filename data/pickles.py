"""A batch file, read without running anything that it names.

A pickle may name any function to be called, so nothing that a file names is ever looked up or called.
"""

import pickle

import numpy as np

from data.layout import IMAGE_SHAPE, N_CLASSES, N_PIXELS


class _Recorded:
    """What the pickle names as a global (`name`), calls (`args`) or fills (`state`): on record only, never run."""

    def __init__(self, name, args=None):
        self.name, self.args, self.state = name, args, None


class _Opcodes(dict):
    """The opcodes that a batch consists of; a file that runs more of them than its images need is refused."""

    def __init__(self, opcodes, budget):
        super().__init__(opcodes)
        self.budget = budget

    def __getitem__(self, opcode):
        self.budget -= 1
        if self.budget < 0:
            raise pickle.UnpicklingError('it has more opcodes than a batch of its size')
        return dict.__getitem__(self, opcode)  # super() would be half as fast, and this runs for each opcode

    def __missing__(self, opcode):
        raise pickle.UnpicklingError(f'a batch has no opcode {bytes([opcode])!r}')


class _BatchUnpickler(pickle._Unpickler):
    """Unpickles dicts, lists, tuples, strings and small integers, and records what rebuilds a NumPy array.

    The pure-Python unpickler is the base on purpose: its memo is a dict and its reads end where the file ends, so an
    index or a length of 2**31 in a hostile file takes up no memory. A canonical batch has some 40,000 opcodes (10 ms).
    """

    # What Python 2, and Python 3 with protocols 2 to 4, write for {b'data': uint8 array, b'labels': list, ...}.
    OPCODES = (
        'PROTO FRAME STOP MARK NONE NEWFALSE NEWTRUE BININT BININT1 BININT2 BINSTRING SHORT_BINSTRING BINBYTES '
        'SHORT_BINBYTES BINUNICODE SHORT_BINUNICODE EMPTY_LIST EMPTY_DICT EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 '
        'APPEND APPENDS SETITEM SETITEMS GLOBAL STACK_GLOBAL REDUCE BUILD BINPUT LONG_BINPUT BINGET LONG_BINGET MEMOIZE'
    )
    GLOBALS = (
        ('numpy.core.multiarray', '_reconstruct'),
        ('numpy._core.multiarray', '_reconstruct'),
        ('numpy', 'ndarray'),
        ('numpy', 'dtype'),
        ('_codecs', 'encode'),
    )

    def __init__(self, file, size):
        super().__init__(file, encoding='bytes')
        opcodes = {
            getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]]
            for name in self.OPCODES.split()
        }
        opcodes |= {
            pickle.REDUCE[0]: _BatchUnpickler.load_reduce,
            pickle.BUILD[0]: _BatchUnpickler.load_build,
            pickle.SETITEM[0]: _BatchUnpickler.load_setitem,
            pickle.SETITEMS[0]: _BatchUnpickler.load_setitems,
        }
        self.dispatch = _Opcodes(opcodes, budget=1000 + size // 256)
        self.bytes_left = size

    def find_class(self, module, name):
        if (module, name) not in self.GLOBALS:
            raise pickle.UnpicklingError(f'it asks for {f"{module}.{name}"[:80]!r}, which a batch never does')
        return _Recorded(name)

    def load_reduce(self):
        args, function = self.stack.pop(), self.stack.pop()
        match function, args:
            case _Recorded(name='encode', args=None), (str() as text, 'latin1'):  # bytes in protocol 2 of Python 3
                self.bytes_left -= len(text)
                if self.bytes_left < 0:  # a text can be encoded again and again
                    raise pickle.UnpicklingError('it has more bytes than the file')
                self.append(text.encode('latin1'))
            case _Recorded(name='_reconstruct' | 'dtype', args=None), tuple():
                self.append(_Recorded(function.name, args))
            case _:
                raise pickle.UnpicklingError('it calls something else than a NumPy array')

    def load_build(self):
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is not _Recorded or target.args is None:
            raise pickle.UnpicklingError('it sets the state of something else than a NumPy array')
        target.state = state

    def load_setitem(self):
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self):
        self._set_items(self.pop_mark())

    def _set_items(self, items):
        # Strings only: the hash of a tuple nested n deep can take 2**n steps.
        if any(type(key) not in (bytes, str) for key in items[::2]):
            raise pickle.UnpicklingError('it has a key that is no string')
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))


def parse_batch(file, size):
    """Images (n, 3, 32, 32), a read-only view, and labels (n,) of the batch that a file of `size` bytes holds."""
    batch = _BatchUnpickler(file, size).load()
    if type(batch) is not dict:
        raise ValueError('it is no dictionary')
    images = batch.get(b'data', batch.get('data'))
    labels = batch.get(b'labels', batch.get('labels'))
    match images:
        case _Recorded(
            name='_reconstruct',
            state=(
                int(),
                (int() as n, 3072),
                _Recorded(name='dtype', args=('u1' | b'u1', *_)),
                False,
                bytes() as pixels,
            ),
        ) if n >= 1 and len(pixels) == n * N_PIXELS:
            images = np.frombuffer(pixels, np.uint8).reshape(n, *IMAGE_SHAPE)
        case _:
            raise ValueError("'data' is no uint8 array of shape (n, 3072) in C order")
    if type(labels) is not list or len(labels) != n:
        raise ValueError(f"'labels' is no list of {n} labels, one for each image")
    if not all(type(label) is int and 0 <= label < N_CLASSES for label in labels):
        raise ValueError("'labels' has something else than integers from 0 to 9")
    return images, np.array(labels, dtype=np.int64)
