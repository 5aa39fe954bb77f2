"""CIFAR-10 read from a folder of batches."""

from pathlib import Path

import numpy as np

from data.layout import FOLDER, IMAGE_SHAPE, N_PIXELS, TEST_FILE, TRAIN_FILES, DataError
from data.pickles import parse_batch

MAX_BATCH_BYTES = 64 * 2**20  # a real batch has 31 MB


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
            return parse_batch(file, size)
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
