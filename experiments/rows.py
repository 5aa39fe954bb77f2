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
BEST_MLP, BEST_CONVNET = 'experiments/best_mlp.py', 'experiments/best_convnet.py'

NETWORKS = {
    'mlp_numpy': Row(NUMPY, seeds=10, title='MLP in NumPy (1.2)'),
    'mlp_pytorch': Row(MLP, seeds=10, title='MLP in PyTorch (2)'),
    'convnet_pytorch': Row(CONVNET, title='ConvNet (4)'),
    'mlp_best': Row(BEST_MLP, title='best MLP (2)'),
    'convnet_best': Row(BEST_CONVNET, title='best ConvNet (4)'),
    'speedrun': Row('experiments/speedrun.py', seeds=5, title='speedrun'),
}

# A network's colour in every picture of the repo: colour-blind readers tell them apart too, and lines may be thin.
COLORS = {
    'mlp_numpy': '#d97a3a',
    'mlp_pytorch': '#12436d',
    'convnet_pytorch': '#2a9d8f',
    'mlp_best': '#b5306a',
    'convnet_best': '#7b5ea7',
    'speedrun': '#333333',
}
TRAINING_COLOR = '0.6'  # of the training batches, beside the network's own of the test set

# Question 2's default run with one modification at a time, its learning rate found anew on the validation split:
# flags, why it was tried, what came of it.
SINGLE = {
    'default': ('', 'the assignment', ''),
    'learning_rate': (
        '--learning_rate 1e-3',
        'shorter steps end in smaller jumps',
        'gains, and the seeds agree: others have to beat it',
    ),
    'standardised_input': (
        '--standardize --learning_rate 0.1',
        'inputs of size 1 need no tiny learning rate',
        'no more than the learning rate alone; needed by what follows',
    ),
    'kaiming_init': (
        '--init kaiming --learning_rate 5e-4',
        'signals keep their size from layer to layer',
        'lost: on pixels up to 255 it starts with huge logits; only with standardised inputs',
    ),
    'two_layers': (
        '--dnn_hidden_units 100,100',
        'depth',
        'never starts: weights of 1e-4 pass almost nothing through two layers',
    ),
    'two_layers_kaiming': (
        '--dnn_hidden_units 100,100 --init kaiming --learning_rate 1e-3',
        'depth, started well',
        'starts, but see kaiming init',
    ),
    'width_1000': (
        '--dnn_hidden_units 1000 --learning_rate 1e-3',
        'capacity',
        'gains a point over the learning rate alone, for ten times the FLOPs',
    ),
    'momentum': (
        '--momentum 0.9 --learning_rate 2e-4',
        'averages the noise of the gradients',
        'gains a little more than the learning rate alone',
    ),
    'adam': (
        '--optimizer adam --learning_rate 1e-4',
        'a step size for each weight',
        'gains a little more than momentum',
    ),
    'cosine': (
        '--lr_schedule cosine',
        'large steps first, small ones to settle',
        'gains, and costs nothing: the last steps no longer jump about',
    ),
    'one_cycle': ('--lr_schedule onecycle', 'a warm-up before the large steps', 'gains as much as cosine'),
    'weight_decay': ('--weight_decay 0.1', 'smaller weights', 'nothing in so short a run'),
    'dropout': ('--dropout 0.2', 'units that do not lean on each other', 'nothing: the network does not overfit yet'),
    'batch_norm': (
        '--batch_norm torch --learning_rate 0.3',
        "PyTorch's: layers of a fixed scale",
        'gains, and bears a learning rate 150 times as high',
    ),
    'batch_norm_autograd': (
        '--batch_norm autograd --learning_rate 0.3',
        "question 3.1's: no running statistics",
        "as PyTorch's",
    ),
    'batch_norm_manual': (
        '--batch_norm manual --learning_rate 0.3',
        "question 3.2's: no running statistics",
        "as PyTorch's",
    ),
    'label_smoothing': ('--label_smoothing 0.1', 'no reward for certainty', 'little, if anything, in so short a run'),
    'crops': (
        '--augment crop',
        'flips and shifts: more images',
        'loses: in seven epochs nothing repeats often enough to be learnt by heart',
    ),
    'moving_average': (
        '--ema 0.99',
        'averages the noise of the weights',
        'gains most of all: the jumps of single steps are averaged away',
    ),
    'elu': ('--activation elu --learning_rate 1e-3', 'no unit dies', 'little more than its lower learning rate alone'),
}

# Then together: each row adds its flags to those of the row above.
COMBINED = {
    'together': (
        '--standardize --batch_norm torch --optimizer adamw --learning_rate 1e-2 --lr_schedule onecycle',
        'standardised inputs, batch norm, AdamW and one cycle at once',
        'gains more than any of them alone',
    ),
    'wide': ('--dnn_hidden_units 1000 --learning_rate 5e-3', 'capacity', 'gains, for ten times the FLOPs'),
    'deep': (
        '--dnn_hidden_units 2048,2048,1024 --init kaiming --learning_rate 2e-3 --precision bf16',
        'three layers, twice as wide, started well and normalised',
        'gains: a deep network learns once its signals keep their size',
    ),
    'gelu': ('--activation gelu', 'a smooth ReLU', 'next to nothing by itself; it stayed'),
}

# Then the ingredients of the best MLP, one after the other: those that each row has besides, or flags of its own.
INGREDIENTS = {
    'local_init': (
        '',
        'pixels that are near each other belong together',
        'gains as much as the larger network did, by the start alone',
    ),
    'regularised': (
        'label_smoothing ema',
        'no reward for certainty, and the noise averaged away',
        'a little',
    ),
    'augmented': (
        'augment',
        'no image twice',
        'loses in seven epochs, in which nothing is learnt by heart any more; pays in long runs',
    ),
    'l1_penalty': (
        'l1_penalty',
        'weights that nothing needs go to 0',
        'gains, even where nothing is learnt by heart',
    ),
    'pruned': (
        'prune_below',
        'noise keeps small weights off 0',
        'gains more than the penalty itself: most weights now stay at 0',
    ),
    'deeper': (
        'dnn_hidden_units',
        'a layer more to put parts together',
        'gains as much as the penalty did; the best MLP has it',
    ),
    'whitened': (
        'whiten precision',
        'edges hide in what little neighbouring pixels do not share',
        'gains as much as the local start; the best MLP has it',
    ),
}
# What a row has instead of an ingredient that it lacks; whitening is in float32 in its row.
WITHOUT = {
    'dnn_hidden_units': '2048,2048,1024',
    'label_smoothing': '0',
    'ema': '0',
    'augment': 'none',
    'l1_penalty': '0',
    'prune_below': '0',
    'whiten': '0',
}

VALIDATED = '--validation_size 5000 --eval_freq 500'
SHORT = '--batch_size 200 --max_steps 1500'


def validated(name, seeds, flags, why, kept, script=MLP):
    return Row(script, f'{VALIDATED} {flags}'.strip(), seeds, name.replace('_', ' '), why, kept)


LADDER = {f'ladder/{name}': validated(name, 10, *about) for name, about in SINGLE.items()}
STEPS, so_far = {}, ''
for name, (added, *about) in COMBINED.items():
    so_far = f'{so_far} {added}'.strip()
    STEPS[f'ladder/combined_{name}'] = validated(name, 3, so_far, *about)

lacking = dict(WITHOUT)
for name, (added, *about) in INGREDIENTS.items():
    for ingredient in added.split():
        lacking.pop(ingredient, None)
    flags = [SHORT, *(f'--{flag} {value}' for flag, value in lacking.items())]
    flags += ['--precision fp32'] if 'precision' in added else []
    STEPS[f'ladder/combined_{name}'] = validated(name, 3, ' '.join(flags), *about, script=BEST_MLP)

# What is in no table: sentences are about it.
ASIDES = {
    'convnet_pytorch_fp32': Row(CONVNET, '--precision fp32 --max_steps 2000'),
    'mlp_best_unaugmented': Row(BEST_MLP, '--augment none', seeds=1),
}
ROWS = NETWORKS | LADDER | STEPS | ASIDES
