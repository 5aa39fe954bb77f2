"""Question 1.2: train the NumPy MLP on CIFAR-10 with mini-batch SGD and hand-written backpropagation.

    python train_mlp_numpy.py                                   # the assignment's default run
    python train_mlp_numpy.py --dnn_hidden_units 512,256 --learning_rate 5e-3 --out_dir runs/wide
    python train_mlp_numpy.py --resume                          # continue a run that was cut off

Prints a line per evaluation; leaves curves, history, summary and checkpoint in --out_dir.
"""

import io
import json

import numpy as np

from mlp_numpy import MLP
from modules import CrossEntropyModule
from train_utils import (
    ArgumentParser,
    Run,
    accuracy,
    add_common_flags,
    checked_archive,
    hidden_units,
    load_data,
    previous_of,
    reading,
    run_script,
    write_atomically,
)


def parse_flags(argv=None):
    parser = ArgumentParser(prog='train_mlp_numpy.py', description=__doc__.splitlines()[0])
    parser.add_argument('--dnn_hidden_units', type=hidden_units, default='100', help='sizes, as in 512,256')
    add_common_flags(
        parser, learning_rate=2e-3, max_steps=1500, batch_size=200, eval_freq=100, out_dir='runs/mlp_numpy'
    )
    parser.add_argument('--dtype', choices=['float32', 'float64'], default='float32', help='of all arithmetic')
    return parser.parse_args(argv)


def evaluate(model, data_set, dtype):
    """Mean loss and accuracy over the whole set, in chunks."""
    cross_entropy = CrossEntropyModule()
    loss = correct = 0.0
    for x, y in data_set.chunks(1000):
        probabilities = model.forward(x.astype(dtype, copy=False))
        loss += float(cross_entropy.forward(probabilities, y)) * len(x)
        correct += accuracy(probabilities, y) * len(x)
    return loss / data_set.num_examples, correct / data_set.num_examples


def save_checkpoint(path, run, model, data):
    """Writes the whole state of training as an .npz file: it holds arrays only, nothing that could run as code."""
    arrays = {
        f'layer{i}.{name}': param for i, layer in enumerate(model.linear_layers) for name, param in layer.params.items()
    }
    for split, data_set in data.items():
        arrays |= {f'{split}.{name}': value for name, value in data_set.state_dict().items()}
    _, keys, position, has_gauss, cached_gaussian = np.random.get_state()
    arrays |= {'random.keys': keys, 'random.rest': np.array([position, has_gauss, cached_gaussian])}
    arrays['run'] = np.array(json.dumps(run.state()))
    file = io.BytesIO()
    np.savez(file, **arrays)
    write_atomically(path, file.getvalue(), previous=previous_of(path))


def load_checkpoint(path, run, model, data):
    """Restores what save_checkpoint wrote."""
    with reading(path), np.load(checked_archive(path), allow_pickle=False) as arrays:
        for i, layer in enumerate(model.linear_layers):
            for name, param in layer.params.items():
                stored = arrays[f'layer{i}.{name}']
                if stored.shape != param.shape:  # NumPy would repeat a single row
                    raise ValueError(f'expected {name} of shape {param.shape}, got {stored.shape}')
                param[...] = stored
        for split, data_set in data.items():
            data_set.load_state_dict({name: arrays[f'{split}.{name}'] for name in data_set.state_dict()})
        position, has_gauss, cached_gaussian = arrays['random.rest']
        np.random.set_state(('MT19937', arrays['random.keys'], int(position), int(has_gauss), cached_gaussian))
        run.load_state(json.loads(str(arrays['run'])))


@np.errstate(over='ignore', invalid='ignore')  # run.count_step tells of a loss that is not finite
def train(flags):
    """Trains and returns the history, a dict per evaluation."""
    run = Run(flags)
    data = load_data(flags)
    train_set = data['train']
    evaluated = [name for name in ('validation', 'test') if data[name].num_examples]

    np.random.seed(flags.seed)
    model = MLP(3 * 32 * 32, flags.dnn_hidden_units, 10, np.dtype(flags.dtype))
    cross_entropy = CrossEntropyModule()

    run.start(__file__, parse_flags([]))
    checkpoint = run.path / 'checkpoint.npz'
    run.restore(checkpoint, lambda path: load_checkpoint(path, run, model, data))

    with run.progress() as progress:
        while run.step < run.max_steps:
            x, y = train_set.next_batch(flags.batch_size)
            x = x.astype(flags.dtype, copy=False)  # (B, 3, 32, 32)

            probabilities = model.forward(x)  # (B, 10)
            loss = cross_entropy.forward(probabilities, y)
            model.backward(cross_entropy.backward(probabilities, y))
            for layer in model.linear_layers:
                for name, param in layer.params.items():
                    layer.grads[name] *= flags.learning_rate  # in place: it is not needed again
                    param -= layer.grads[name]

            run.count_step(float(loss), accuracy(probabilities, y))
            progress.update(len(x))
            if run.is_evaluation_due():
                run.log({name: evaluate(model, data[name], flags.dtype) for name in evaluated})
                run.write_history()
                save_checkpoint(checkpoint, run, model, data)
                run.print_row()
    run.finish()
    return run.history


if __name__ == '__main__':
    run_script(train, parse_flags())
