"""The data sets that the flags ask for."""

from cifar10_utils import CLASS_NAMES, get_cifar10_raw_data, make_data_sets
from training.errors import UsageError


def load_data(flags, standardize=False):
    """The data sets that the flags ask for, as {'train', 'validation', 'test'}, with integer labels.

    Raises:
        UsageError: if validation_size or batch_size does not fit the data set.
        DataError: if CIFAR-10 is missing and cannot be fetched, or is broken.
    """
    if flags.dataset == 'shapes10':
        from data.shapes10 import shapes10

        arrays = shapes10()
    else:
        arrays = get_cifar10_raw_data(flags.data_dir, flags.data_url)
    n = len(arrays[0])
    if flags.validation_size >= n:
        raise UsageError(f'--validation_size must be below {n}, got {flags.validation_size}')
    if flags.batch_size > n:
        raise UsageError(f'--batch_size must be at most {n}, got {flags.batch_size}')
    if flags.batch_size > n - flags.validation_size:
        left = f'{n - flags.validation_size} training images, less than a batch of {flags.batch_size}'
        raise UsageError(f'--validation_size leaves {left}')
    return make_data_sets(*arrays, False, flags.validation_size, standardize)


def number_of_steps(flags, data):
    """The length of the run in steps: --max_steps, or --epochs in whole batches."""
    return flags.max_steps or flags.epochs * (data['train'].num_examples // flags.batch_size)


def class_names(flags):
    """Names of the ten classes of the data set that the flags ask for."""
    if flags.dataset == 'shapes10':
        from data.shapes10 import CLASS_NAMES as names

        return names
    return CLASS_NAMES
