"""The flags that every PyTorch network has, in groups."""

from training.augmentation import AUGMENTATIONS
from training.errors import UsageError
from training.flags import add_data_flags, add_optimisation_flags, add_run_flags, fraction, number
from training.optimisers import OPTIMIZERS


def add_torch_flags(parser, *, out_dir, optimizer, learning_rate, max_steps, batch_size, eval_freq, precision='fp32'):
    """Adds the groups optimisation, regularisation, data, machine and run, with the defaults of a question.

    Returns:
        the groups by name.
    """
    groups = {
        'optimisation': add_optimisation_flags(
            parser, learning_rate=learning_rate, max_steps=max_steps, batch_size=batch_size
        ),
        'regularisation': parser.add_argument_group('regularisation'),
        'data': add_data_flags(parser),
        'machine': add_machine_flags(parser, precision),
        'run': add_run_flags(parser, out_dir, eval_freq),
    }
    add = groups['optimisation'].add_argument
    add('--optimizer', type=str.lower, choices=list(OPTIMIZERS), default=optimizer, help='update rule')
    add('--momentum', type=fraction, default=0.0, help='of SGD')
    add('--lr_schedule', choices=['constant', 'cosine', 'onecycle'], default='constant', help='of the learning rate')
    add = groups['regularisation'].add_argument
    add('--weight_decay', type=number(float, 0), default=0.0, help='L2 penalty; decoupled in adamw')
    add('--label_smoothing', type=fraction, default=0.0, help='share of the target spread over all classes')
    add('--ema', type=fraction, default=0.0, help='decay of a moving average of the weights, evaluated in their place')
    augment = {'nargs': '?', 'choices': ['none', *AUGMENTATIONS], 'const': 'crop', 'default': 'none'}
    add('--augment', **augment, help='crop flips and shifts the training images at random')
    groups['data'].add_argument(
        '--standardize', action='store_true', help='divide the images by the standard deviation of each channel'
    )
    groups['run'].add_argument('--tensorboard', action='store_true', help='write the history for TensorBoard too')
    return groups


def add_machine_flags(parser, precision):
    """Adds the flags that a TorchMachine is made from."""
    group = parser.add_argument_group('machine')
    add = group.add_argument
    add('--device', choices=['auto', 'cpu', 'cuda', 'mps'], default='auto', help='where to compute')
    add('--precision', choices=['auto', 'fp32', 'bf16', 'fp16'], default=precision, help='of the matrix products')
    return group


def check_torch_flags(parser, flags):
    """Ends the program with one line if flags contradict each other."""
    if flags.momentum and flags.optimizer != 'sgd':
        parser.error(f'--momentum belongs to --optimizer sgd, got {flags.optimizer}, which has its own')
    check_below_one(parser, flags)


def check_below_one(parser, flags):
    """Ends the program with one line if a share is 1 with which a network cannot learn."""
    for name in ('ema', 'momentum', 'dropout', 'label_smoothing'):
        if getattr(flags, name, 0) == 1:
            parser.error(f'--{name} must be below 1: at 1 nothing is ever learnt')


def check_batch_norm(flags, n_processes):
    """Raises UsageError if a batch is too small to take a mean and variance over."""
    if flags.batch_norm != 'none' and flags.batch_size // n_processes < 2:
        raise UsageError('--batch_norm takes means over the batch: --batch_size must be at least 2 for each process')
    if flags.batch_norm in ('autograd', 'manual') and 0 < flags.validation_size < 2 * n_processes:
        raise UsageError(
            "question 3's --batch_norm takes means in evaluations too: --validation_size must be at least 2 per process"
        )
