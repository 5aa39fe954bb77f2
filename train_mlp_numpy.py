"""Question 1.2: train the NumPy MLP on CIFAR-10 with mini-batch SGD and hand-written backpropagation.

    python train_mlp_numpy.py                                   # the assignment's default run
    python train_mlp_numpy.py --dnn_hidden_units 512,256 --learning_rate 5e-3 --out_dir runs/wide
    python train_mlp_numpy.py --resume                          # continue a run that was cut off

Prints a line per evaluation; leaves curves, history, summary and checkpoint in --out_dir.
"""

import numpy as np

from cifar10_utils import N_CLASSES, N_PIXELS
from mlp_numpy import MLP
from modules import CrossEntropyModule
from training.accuracy import accuracy
from training.data import load_data
from training.flags import ArgumentParser, add_data_flags, add_optimisation_flags, add_run_flags, hidden_units
from training.numpy_machine import NumpyMachine
from training.run import Run
from training.script import run_script


def parse_flags(argv=None):
    parser = ArgumentParser(__file__, __doc__)
    add = parser.add_argument_group('model').add_argument
    add('--dnn_hidden_units', type=hidden_units, default=[100], help='sizes, as in 512,256')
    add_optimisation_flags(parser, learning_rate=2e-3, max_steps=1500, batch_size=200)
    add_data_flags(parser)
    add_run_flags(parser, out_dir='runs/mlp_numpy', eval_freq=100)
    add = parser.add_argument_group('machine').add_argument
    add('--dtype', choices=['float32', 'float64'], default='float32', help='of all arithmetic')
    return parser.parse_args(argv)


def evaluate(model, data_set, machine):
    """Mean loss and accuracy over the whole set, in chunks."""
    cross_entropy = CrossEntropyModule()
    loss = correct = 0.0
    for x, y in machine.chunks(data_set, 1000):
        probabilities = model.forward(x)
        loss += float(cross_entropy.forward(probabilities, y)) * len(x)
        correct += float(accuracy(probabilities, y)) * len(x)
    return loss / data_set.num_examples, correct / data_set.num_examples


@np.errstate(over='ignore', invalid='ignore')  # the run tells of a loss that is not finite
def train(flags):
    """Trains and returns the history, a dict per evaluation."""
    machine = NumpyMachine(flags)
    data = load_data(flags)

    np.random.seed(flags.seed)
    model = MLP(N_PIXELS, flags.dnn_hidden_units, N_CLASSES, machine.dtype)
    cross_entropy = CrossEntropyModule()

    with Run(flags, machine, data, evaluate=lambda part: evaluate(model, part, machine), model=model) as run:
        for x, y in run.batches():  # (B, 3, 32, 32), (B,)
            probabilities = model.forward(x)  # (B, 10)
            loss = cross_entropy.forward(probabilities, y)
            model.backward(cross_entropy.backward(probabilities, y))
            for layer in model.linear_layers:
                for name, param in layer.params.items():
                    param -= flags.learning_rate * layer.grads[name]
            run.after_step(loss, accuracy(probabilities, y))
        run.finish()
    return run.history


if __name__ == '__main__':
    run_script(train, parse_flags())
