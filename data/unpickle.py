"""Unpickling without running anything: dicts, lists, tuples, strings, numbers and NumPy's numbers and arrays of them.

A pickle may name any function to be called, so nothing that a file names is ever looked up or called.
"""

import contextlib
import pickle
import re

import numpy as np


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


class _Unpickler(pickle._Unpickler):
    """Unpickles dicts, lists, tuples, strings and numbers, and records what rebuilds NumPy's.

    The pure-Python unpickler is the base on purpose: its memo is a dict and its reads end where the file ends, so an
    index or a length of 2**31 in a hostile file takes up no memory. A canonical batch has some 40,000 opcodes (10 ms).
    """

    # What Python 2, and Python 3 with protocols 2 to 5, write for {b'data': uint8 array, b'labels': list, ...}.
    OPCODES = (
        'PROTO FRAME STOP MARK NONE NEWFALSE NEWTRUE BININT BININT1 BININT2 BINSTRING SHORT_BINSTRING BINBYTES '
        'SHORT_BINBYTES BYTEARRAY8 BINUNICODE SHORT_BINUNICODE BINFLOAT EMPTY_LIST EMPTY_DICT EMPTY_TUPLE TUPLE TUPLE1 '
        'TUPLE2 TUPLE3 APPEND APPENDS SETITEM SETITEMS GLOBAL STACK_GLOBAL REDUCE BUILD BINPUT LONG_BINPUT BINGET '
        'LONG_BINGET MEMOIZE'
    )
    GLOBALS = (
        ('numpy.core.multiarray', '_reconstruct'),
        ('numpy._core.multiarray', '_reconstruct'),
        ('numpy.core.multiarray', 'scalar'),
        ('numpy._core.multiarray', 'scalar'),
        ('numpy.core.numeric', '_frombuffer'),
        ('numpy._core.numeric', '_frombuffer'),
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
            pickle.BYTEARRAY8[0]: _Unpickler.load_bytearray8,
            pickle.REDUCE[0]: _Unpickler.load_reduce,
            pickle.BUILD[0]: _Unpickler.load_build,
            pickle.SETITEM[0]: _Unpickler.load_setitem,
            pickle.SETITEMS[0]: _Unpickler.load_setitems,
        }
        self.dispatch = _Opcodes(opcodes, budget=1000 + size // 128)
        self.size = self.bytes_left = size

    def find_class(self, module, name):
        if (module, name) not in self.GLOBALS:
            raise pickle.UnpicklingError(f'it asks for {f"{module}.{name}"[:80]!r}, which a batch never does')
        return _Recorded(name)

    def load_bytearray8(self):
        n = int.from_bytes(self.read(8), 'little')
        if n > self.size:  # Python's own takes up the memory first
            raise pickle.UnpicklingError('a bytearray is longer than the file')
        self.append(self.read(n))

    def load_reduce(self):
        args, function = self.stack.pop(), self.stack.pop()
        match function, args:
            case _Recorded(name='encode', args=None), (str() as text, 'latin1'):  # bytes in protocol 2 of Python 3
                self.bytes_left -= len(text)
                if self.bytes_left < 0:  # a text can be encoded again and again
                    raise pickle.UnpicklingError('it has more bytes than the file')
                self.append(text.encode('latin1'))
            case _Recorded(name='_reconstruct' | '_frombuffer' | 'scalar' | 'dtype', args=None), tuple():
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


def load(file, size):
    """What the pickle in a file of `size` bytes holds; arrays and NumPy's numbers are on record, for `value_of`.

    Raises:
        Exception: of any kind, if it holds anything else or is broken.
    """
    return _Unpickler(file, size).load()


def value_of(found):
    """The NumPy array in C order, read-only, or the NumPy number that `load` has on record; else what it found."""
    match found:
        case (
            _Recorded(name='_reconstruct', state=(int(), shape, dtype, False, bytes() as numbers))
            | _Recorded(name='_frombuffer', args=(bytes() as numbers, dtype, shape, 'C'))
        ):
            pass
        case _Recorded(name='scalar', args=(dtype, bytes() as numbers)):
            shape = ()
        case _:
            return found
    with contextlib.suppress(TypeError, ValueError):  # the shape may be anything
        return np.frombuffer(numbers, _number_type(dtype)).reshape(shape)[()]
    return found


def describe(value):
    """What `value_of` gave, in a few words: type and shape of an array, else the name of its type."""
    if isinstance(value, np.ndarray):
        return f'{value.dtype} {value.shape}'
    if type(value) is _Recorded:
        return 'an array of no numbers in C order'
    return 'none' if value is None else type(value).__name__


def _number_type(found):
    """The dtype of integers or floats that `load` found and has on record.

    Raises:
        ValueError: it is another one, or none.
    """
    match found:
        case _Recorded(name='dtype', args=(code, *_), state=(int(), order, *_)):
            code, order = (text.decode('latin1') if type(text) is bytes else text for text in (code, order))
            if re.fullmatch('[iu][1248]|f[248]', code) and re.fullmatch('[<>|=]', order):
                return np.dtype(order + code)
    raise ValueError('it is no dtype of integers or floats')
