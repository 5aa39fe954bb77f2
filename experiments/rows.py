"""The published runs by name, each a script and its flags: results/NAME/seedS holds what a run left.

experiments/ladder.py does the runs, experiments/results.py turns them into tables.
"""

from typing import NamedTuple


class Row(NamedTuple):
    """Runs that differ in nothing but their seed."""

    script: str
    flags: str = ''
    seeds: int = 3  # how many, from 42 up
    title: str = ''
    why: str = ''  # a modification's reason, and
    kept: str = ''  # whether it stayed and why


NUMPY, MLP, CONVNET = 'train_mlp_numpy.py', 'train_mlp_pytorch.py', 'train_convnet_pytorch.py'

NETWORKS = {
    'mlp_numpy': Row(NUMPY, seeds=10, title='MLP in NumPy (1.2)'),
    'mlp_pytorch': Row(MLP, seeds=10, title='MLP in PyTorch (2)'),
    'convnet_pytorch': Row(CONVNET, title='ConvNet (4)'),
    'speedrun': Row('experiments/speedrun.py', seeds=5, title='speedrun'),
}

# Question 2's default run with one modification at a time, its learning rate found anew on the validation split:
# flags, why it was tried, what came of it.
SINGLE = {
    'default': ('', 'the assignment', ''),
    'standardised_input': ('--standardize --learning_rate 0.1', 'inputs of size 1 need no tiny learning rate', ''),
    'kaiming_init': ('--init kaiming --learning_rate 1e-3', 'signals keep their size from layer to layer', ''),
    'two_layers': ('--dnn_hidden_units 100,100', 'depth', ''),
    'two_layers_kaiming': ('--dnn_hidden_units 100,100 --init kaiming --learning_rate 1e-3', 'depth, started well', ''),
    'width_1000': ('--dnn_hidden_units 1000', 'capacity', ''),
    'momentum': ('--momentum 0.9 --learning_rate 5e-4', 'averages the noise of the gradients', ''),
    'adam': ('--optimizer adam --learning_rate 3e-4', 'a step size for each weight', ''),
    'cosine': ('--lr_schedule cosine --learning_rate 4e-3', 'large steps first, small ones to settle', ''),
    'one_cycle': ('--lr_schedule onecycle --learning_rate 4e-3', 'a warm-up bears larger steps', ''),
    'weight_decay': ('--weight_decay 0.1', 'smaller weights', ''),
    'dropout': ('--dropout 0.2', 'units that do not lean on each other', ''),
    'batch_norm': ('--batch_norm torch --learning_rate 0.1', "PyTorch's: layers of a fixed scale", ''),
    'batch_norm_autograd': (
        '--batch_norm autograd --learning_rate 0.1',
        "question 3.1's, without running statistics",
        '',
    ),
    'batch_norm_manual': ('--batch_norm manual --learning_rate 0.1', "question 3.2's, without running statistics", ''),
    'label_smoothing': ('--label_smoothing 0.1', 'no reward for certainty', ''),
    'crops': ('--augment crop', 'flips and shifts: more images', ''),
    'affine': ('--augment affine', 'turned and stretched images besides', ''),
    'moving_average': ('--ema 0.99', 'averages the noise of the weights', ''),
    'elu': ('--activation elu', 'no unit dies', ''),
    'gelu': ('--activation gelu', 'smooth', ''),
}

# On the way to the best MLP, one more at a time.
COMBINED = {}

VALIDATED = '--validation_size 5000 --eval_freq 500'
LADDER = {
    f'ladder/{name}': Row(MLP, f'{VALIDATED} {flags}'.strip(), title=name.replace('_', ' '), why=why, kept=kept)
    for name, (flags, why, kept) in (SINGLE | COMBINED).items()
}

ROWS = NETWORKS | LADDER | {'convnet_pytorch_fp32': Row(CONVNET, '--precision fp32 --max_steps 2000')}
