"""CIFAR-10 on disk: a folder of six pickles, the Python version of https://www.cs.toronto.edu/~kriz/cifar.html."""

import os
import stat
from pathlib import Path

import numpy as np

from data.unpickle import describe, load, value_of

CLASS_NAMES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
N_CLASSES = len(CLASS_NAMES)
IMAGE_SHAPE = (3, 32, 32)
N_PIXELS = 3 * 32 * 32
ARCHIVE = 'cifar-10-python.tar.gz'
FOLDER = 'cifar-10-batches-py'
TRAIN_FILES = tuple(f'data_batch_{i}' for i in range(1, 6))
TEST_FILE = 'test_batch'
BATCHES = (*TRAIN_FILES, TEST_FILE)
OTHER_FORMS = {  # what people have in its place, by a name that tells
    'cifar-10-python.tar': 'the archive as a browser unzips it, which `tar xf` unpacks',
    'data_batch_1.bin': 'its binary version',
    'data_batch_1.mat': 'its Matlab version',
    'cifar-100-python': 'CIFAR-100',
}
MAX_BATCH_BYTES = 64 * 2**20  # a real batch has 31 MB


class DataError(Exception):
    """The data set is missing, broken or out of reach; the message names the file and the remedy."""


def path_of(name):
    """The path that a user's word names; `~` is the home folder, since not every caller is a shell."""
    return Path(os.path.expanduser(name))


def batches_folder(data_dir):
    """The folder of the batches, there or not: `data_dir`, or the one that it holds, or the one beside an archive.

    A folder without batches stands for the FOLDER in it if it holds that or the archive, and the archive itself for the
    FOLDER beside it, which is where the archive is unpacked to.
    """
    path = path_of(data_dir)
    if path.name == ARCHIVE and not os.path.isdir(path):
        return path.with_name(FOLDER)
    if any(os.path.exists(path / name) for name in BATCHES):
        return path
    return path / FOLDER if os.path.isdir(path / FOLDER) or os.path.isfile(path / ARCHIVE) else path


def _unreadable(path, error):
    return DataError(f'{path} cannot be read ({error.strerror}): change its permissions or pass another --data_dir')


def _names_in(folder):
    """Names of what a folder holds; none if there is no such folder."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unreadable(folder, error) from error


def _remedy(path):
    return (
        f'move the folder {path.parent} out of the way and run again to have CIFAR-10 fetched anew, '
        f'or pass a folder with {TRAIN_FILES[0]} ... {TEST_FILE} as --data_dir'
    )


def _batch_size(path):
    """Bytes of a batch file, or DataError if it can't be one."""
    try:
        status = path.stat()
    except PermissionError as error:
        raise _unreadable(path, error) from error
    except OSError:
        status = None
    if status is None or not stat.S_ISREG(status.st_mode):
        raise DataError(f'{path} is missing: {_remedy(path)}')
    size = status.st_size
    if size > MAX_BATCH_BYTES:
        raise DataError(f'{path} has {size} bytes, more than any CIFAR-10 batch: {_remedy(path)}')
    return size


def _parse_batch(file, size):
    """Images (n, 3, 32, 32), a read-only view, and labels (n,) of the batch that a file of `size` bytes holds."""
    batch = load(file, size)
    if type(batch) is not dict:
        raise ValueError('it is no dictionary')
    images = value_of(batch.get(b'data', batch.get('data')))
    if type(images) is not np.ndarray or images.dtype != np.uint8 or images.shape[1:] != (N_PIXELS,) or not len(images):
        raise ValueError("'data' is no uint8 array of shape (n, 3072) in C order")
    labels = _labels(batch.get(b'labels', batch.get('labels')), len(images))
    return images.reshape(-1, *IMAGE_SHAPE), labels


def _labels(found, n):
    """n labels, int64 (n,), from a list, a tuple or an array of integers, Python's or NumPy's.

    Raises:
        ValueError: it is another number of them, or something else; the message names it.
    """
    labels, got = value_of(found), None
    if type(labels) in (list, tuple):
        labels = [value_of(label) for label in labels]
    elif type(labels) is not np.ndarray or labels.ndim != 1 or labels.dtype.kind not in 'iu':
        labels, got = [], describe(labels)
    for label in labels:
        if type(label) is not int and not isinstance(label, np.integer):
            got = f'{describe(label)} among them'
        elif not 0 <= label < N_CLASSES:
            got = f'{label} among them'
    if got or len(labels) != n:
        got = got or f'{len(labels)} of them'
        raise ValueError(f"expected {n} integers from 0 to {N_CLASSES - 1} as 'labels', one for each image, got {got}")
    return np.array(labels, dtype=np.int64)


def _read_batch(path):
    size = _batch_size(path)
    try:
        with open(path, 'rb') as file:
            return _parse_batch(file, size)
    except PermissionError as error:
        raise _unreadable(path, error) from error
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
    images, labels = _read_batch(path_of(filename))
    return images.copy(), labels


def load_cifar10(cifar10_folder):
    """Read the five training batches and the test batch of a folder.

    Returns:
        X_train, Y_train, X_test, Y_test: images uint8 (N, 3, 32, 32), labels int64 (N,).

    Raises:
        DataError: the folder or one of its files is missing or broken.
    """
    folder = batches_folder(cifar10_folder)
    *train_paths, test_path = [folder / name for name in BATCHES]
    names = {folder.name, *_names_in(folder)}
    if not set(BATCHES) & names:
        found = next((f' but {form}' for name, form in OTHER_FORMS.items() if name in names), '')
        raise DataError(
            f'{folder} holds no CIFAR-10 in its Python version{found}: '
            f'pass a folder with {TRAIN_FILES[0]} ... {TEST_FILE}, or with {ARCHIVE}, as --data_dir'
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


def is_missing(data_dir):
    """Whether there is no such folder, or an empty one: scripts of the assignment make it before they read it."""
    folder = path_of(data_dir)
    return not os.path.isfile(folder) and not _names_in(folder)
