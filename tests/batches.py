"""Small CIFAR-10 folders for tests."""

import pickle

import numpy as np

TRAIN_FILES = ['data_batch_1', 'data_batch_2', 'data_batch_3', 'data_batch_4', 'data_batch_5']
FILES = [*TRAIN_FILES, 'test_batch']


def random_batch(n, rng):
    """Pixels uint8 (n, 3072) and a list of n labels."""
    return rng.integers(0, 256, (n, 3072), dtype=np.uint8), rng.integers(0, 10, n).tolist()


def batch_bytes(pixels, labels, protocol=4, **others):
    """The pickle of a batch with what the real ones also hold."""
    batch = {'batch_label': 'a batch', 'labels': labels, 'data': pixels, 'filenames': ['a.png'] * len(labels), **others}
    return pickle.dumps({key.encode(): value for key, value in batch.items()}, protocol=protocol)


def write_folder(folder, n_train=10, n_test=8, seed=0):
    """Write a CIFAR-10 folder with `n_train` images per training batch; returns its raw arrays in reading order."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = []
    for name in FILES:
        pixels, labels = random_batch(n_test if name == 'test_batch' else n_train, rng)
        (folder / name).write_bytes(batch_bytes(pixels, labels))
        arrays.append((pixels.reshape(-1, 3, 32, 32), np.array(labels)))
    *train, (X_test, Y_test) = arrays
    X_train, Y_train = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return X_train, Y_train, X_test, Y_test
