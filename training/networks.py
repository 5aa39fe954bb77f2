"""Trained networks, read back from a run folder.

    network = load_network('runs/convnet_pytorch')
    network.probabilities(pixels)  # of images, uint8 (B, 3, 32, 32), or of one
    network.evaluate()             # loss and accuracy on the test set, those of the run's summary.json

It computes as the run did: in its precision, from its mean image, with the moving average of its weights if it has one.
"""

import argparse
import contextlib
import functools
from pathlib import Path

import numpy as np
import torch

from cifar10_utils import N_CLASSES, N_PIXELS, DataSet
from training.data import class_names, load_data
from training.errors import RunError, UsageError
from training.evaluation import evaluate, predict_probabilities
from training.files import reading
from training.numpy_machine import NumpyMachine
from training.torch_machine import TorchMachine


class Network:
    """A trained network that computes as its run evaluated it.

    Args:
        flags: of the run.
        state: its checkpoint.
    Attributes:
        model: the network itself, in evaluation mode.
        names: of its classes.
    """

    def __init__(self, flags, state):
        self.flags, self.names = flags, class_names(flags)
        self.mean_image, self.std = (
            None if value is None else np.asarray(value)
            for value in (state['normalisation'][name] for name in ('mean_image', 'std'))
        )
        blank = np.zeros((1, 3, 32, 32), np.uint8)
        _ = DataSet(blank, np.zeros(1, np.int64), self.mean_image, self.std, one_hot=False).images  # or fail here

    @functools.cached_property
    def data(self):
        """The data sets of the run, {'train', 'validation', 'test'}; the first use loads them."""
        return load_data(self.flags, standardize=self.std is not None)

    def probabilities(self, pixels):
        """Probabilities (B, 10) of images, uint8 (B, 3, 32, 32), or (10,) of one, (3, 32, 32).

        Raises:
            ValueError: if the images are of another shape or type.
            RunError: if there is one image, and the network takes means over a batch.
        """
        images = pixels[None] if np.ndim(pixels) == 3 else pixels
        if len(images) == 1 and getattr(self.flags, 'batch_norm', 'none') in ('autograd', 'manual'):
            raise RunError(
                "question 3's batch normalisation needs the statistics of a batch, which a single picture has not: "
                'name a run without it'
            )
        labels = np.zeros(len(images), np.int64)  # nobody asks for them
        probabilities = self._probabilities(DataSet(images, labels, self.mean_image, self.std, one_hot=False))
        return probabilities[0] if np.ndim(pixels) == 3 else probabilities


class NumpyNetwork(Network):
    """A network of train_mlp_numpy.py."""

    def __init__(self, flags, state):
        from mlp_numpy import MLP

        super().__init__(flags, state)
        self.machine = NumpyMachine(flags)
        self.model = MLP(N_PIXELS, flags.dnn_hidden_units, N_CLASSES, self.machine.dtype)
        self.model.load_state_dict(state['model'])

    def evaluate(self, data_set=None):
        """Mean loss and accuracy on a DataSet, by default the run's test set."""
        from train_mlp_numpy import evaluate

        return evaluate(self.model, data_set or self.data['test'], self.machine)

    def _probabilities(self, data_set):
        return np.concatenate([self.model.forward(x) for x, _ in self.machine.chunks(data_set, 1000)])


class TorchNetwork(Network):
    """A network of a script that uses PyTorch.

    Args:
        make_model: function of the flags.
        chunk: images that are evaluated at a time.
    """

    def __init__(self, flags, state, make_model, chunk):
        super().__init__(flags, state)
        self.machine, self.chunk = TorchMachine(flags), chunk
        self.model = self._place(make_model(flags))
        self.model.load_state_dict(_averaged(state))
        self.model.eval()

    def _place(self, model):
        return self.machine.place(model)

    def evaluate(self, data_set=None):
        """Mean loss and accuracy on a DataSet, by default the run's test set."""
        return evaluate(self.model, data_set or self.data['test'], self.machine, self.chunk)

    def _probabilities(self, data_set):
        return predict_probabilities(self.model, data_set, self.machine, self.chunk)


class SpeedrunNetwork(TorchNetwork):
    """The network of experiments/speedrun.py, which takes the mean of each channel off and convolves as torch does."""

    def __init__(self, flags, state):
        from experiments.speedrun import SpeedNet

        super().__init__(flags, state, lambda flags: SpeedNet(N_CLASSES), 250)
        self.mean_image = self.mean_image.mean((1, 2), keepdims=True)

    def _place(self, model):
        return model.to(self.machine.device, memory_format=self.machine.memory_format)

    def evaluate(self, data_set=None):
        """Mean loss and accuracy, of one view of each image, on a DataSet, by default the run's test set."""
        from experiments.speedrun import evaluate

        mean, std = (torch.from_numpy(value).to(self.machine.device) for value in (self.mean_image, self.std))
        loss, plain, _ = evaluate(self.model, data_set or self.data['test'], lambda x: (x - mean) / std, self.machine)
        return loss, plain


def _mlp(flags):
    from train_mlp_pytorch import make_model

    return make_model(flags)


def _best_mlp(flags):
    from experiments.best_mlp import make_model

    return make_model(flags)


def _convnet(flags):
    from convnet_pytorch import ConvNet

    return ConvNet(3, N_CLASSES)


NETWORKS = {
    'train_mlp_numpy': NumpyNetwork,
    'train_mlp_pytorch': functools.partial(TorchNetwork, make_model=_mlp, chunk=1000),
    'train_convnet_pytorch': functools.partial(TorchNetwork, make_model=_convnet, chunk=250),
    'best_mlp': functools.partial(TorchNetwork, make_model=_best_mlp, chunk=1000),
    'best_convnet': functools.partial(TorchNetwork, make_model=_convnet, chunk=250),
    'speedrun': SpeedrunNetwork,
}
EXPECTED = f'expected a run of {", ".join(NETWORKS)}'


def load_network(run, **changes):
    """The trained Network of a run.

    It computes where the run did, on the device and in the precision of its flags; where there is no such device, on
    what there is.

    Args:
        run: run folder, or the checkpoint in it.
        changes: of the run's flags, such as device='cpu', or data_dir, where the data set lies now.
    Raises:
        RunError: if there is no such checkpoint, or it is another kind of file.
        UsageError: if there is no such device as asked for.
    """
    path = _checkpoint(Path(run).expanduser())
    with reading(path, remedy=EXPECTED):
        machine = NumpyMachine if path.suffix == '.npz' else TorchMachine
        state = machine.load(path)
        flags = argparse.Namespace(**state['flags'] | changes)
        if state['script'] not in NETWORKS:
            raise RunError(f'{path} is of {state["script"]}.py: {EXPECTED}')
        if 'device' in state['flags'].keys() - changes.keys():
            flags.device = _device_at_hand(flags)
        return NETWORKS[state['script']](flags, state)


def _checkpoint(path):
    """The checkpoint in a run folder, or the file itself."""
    if path.is_dir():
        path = next(path.glob('checkpoint.np[z]'), path / TorchMachine.checkpoint)
    if not path.exists():
        raise RunError(f'{path} is missing: train first, or name another run; {EXPECTED}')
    return path


def _device_at_hand(flags):
    """The name of the device of the run, or 'auto' where that is not to be had."""
    with contextlib.suppress(UsageError):
        TorchMachine(flags)
        return flags.device
    return 'auto'


def _averaged(state):
    """The weights that the run evaluated: their moving average if it has one."""
    if 'ema' not in state:
        return state['model']
    averaged = {name.removeprefix('module.'): value for name, value in state['ema'].items()}
    del averaged['n_averaged']
    return averaged
