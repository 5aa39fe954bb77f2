"""CIFAR-10 by the assignment's names: check, read, normalise and batch it, and fetch it when it isn't there.

CIFAR-10 (A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009) holds 50,000 training and
10,000 test images of ten classes, 3 x 32 x 32 pixels.

Pixels stay uint8 in memory; a batch becomes float32 and loses the mean image only when it is drawn.
"""

import functools
import operator
import zlib

import numpy as np

# The names of the assignment, wherever they live.
from data.cifar10 import (
    ARCHIVE,
    CLASS_NAMES,
    FOLDER,
    IMAGE_SHAPE,
    MAX_BATCH_BYTES,
    N_CLASSES,
    N_PIXELS,
    TEST_FILE,
    TRAIN_FILES,
    DataError,
    batches_folder,
    is_missing,
    load_cifar10,
    load_cifar10_batch,
)
from data.download import ARCHIVE_BYTES, ARCHIVE_MD5, ATTEMPTS, FILE_MD5, PAUSE, SOURCES, TIMEOUT, download_cifar10
from data.order import Order


def get_cifar10_raw_data(data_dir, data_url=None):
    """As `load_cifar10`, but a folder that is missing or empty is filled first (see `download_cifar10`)."""
    folder = batches_folder(data_dir)
    if is_missing(folder):
        download_cifar10(folder, data_url)
    return load_cifar10(folder)


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


def _integers(labels, n):
    """The labels as an array, or ValueError if they are no integers or not of shape (n,), in which 'N' is any."""
    labels = np.asarray(labels)
    if labels.dtype.kind not in 'iu':
        raise ValueError(f'expected integer labels, got {labels.dtype}')
    if labels.ndim != 1 or n not in ('N', len(labels)):
        raise ValueError(f'expected labels of shape ({n},), got {labels.shape}')
    return labels


def dense_to_one_hot(labels_dense, num_classes=N_CLASSES):
    """One-hot float32 (N, num_classes) of integer labels (N,).

    Raises:
        ValueError: a label outside 0..num_classes - 1, or labels of another shape or type.
    """
    labels = _integers(labels_dense, 'N')
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
        self._images, self._labels = images, _integers(labels, len(images)).astype(np.int64)
        self.mean_image, self.std, self._one_hot = mean_image, std, one_hot
        self._order = Order(len(images))

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
        return self._order.epochs

    @property
    def raw(self):
        """All images and labels as they lie in memory, uint8 (N, 3, 32, 32) and int64 (N,): not to be changed."""
        return self._images, self._labels

    def next_batch(self, batch_size, rank=0, world_size=1):
        """The examples of `next_rows`: x, float32 (B, 3, 32, 32), and y, one-hot float32 (B, 10) or int64 (B,)."""
        return self._rows(self.next_rows(batch_size, rank, world_size))

    def next_rows(self, batch_size, rank, world_size):
        """The next `batch_size` examples of the order, or process `rank`'s share of them: their places, int64 (B,).

        Process r of `world_size` gets the rows r, r + world_size, ... of the batch, and with equal random states
        every process goes through the same order, so that together they see the batch of a single process.

        Raises:
            ValueError: batch_size outside 1..N, or not 0 <= rank < world_size <= batch_size.
        """
        batch_size = operator.index(batch_size)
        if not 1 <= batch_size <= self.num_examples:
            raise ValueError(f'expected a batch_size from 1 to {self.num_examples} (all examples), got {batch_size}')
        if not 0 <= rank < world_size <= batch_size:
            raise ValueError(f'expected 0 <= rank < world_size <= batch_size, got {rank}, {world_size}, {batch_size}')
        return self._order.next_batch(batch_size)[rank::world_size]

    def chunks(self, size):
        """All examples in file order as (x, y) of at most `size` each, leaving the order of batches alone."""
        return map(self._rows, self.chunk_rows(size))

    def chunk_rows(self, size):
        """The places of all chunks in the file order, as slices.

        The chunks are equal to within one example: a last chunk of a single one would have no variance.
        """
        size = operator.index(size)
        if size < 1:
            raise ValueError(f'expected a chunk of at least 1 example, got {size}')
        N = self.num_examples
        n_chunks = -(-N // size)
        return [slice(i * N // n_chunks, (i + 1) * N // n_chunks) for i in range(n_chunks)]

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
        return self._order.state_dict() | {'fingerprint': self.fingerprint}

    def load_state_dict(self, state):
        """Go to the place that `state_dict` returned; after an error nothing has changed.

        Raises:
            ValueError: the state is not one of a set of this size.
            DataError: the state is that of other images or labels.
        """
        order = Order(self.num_examples)
        order.load_state_dict(state)
        if operator.index(state['fingerprint']) != self.fingerprint:
            raise DataError(
                'the data are not those that the run was started with: '
                'bring those back, or start again with --overwrite'
            )
        self._order = order


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
