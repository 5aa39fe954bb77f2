"""Trained networks that compute as their runs did.

In the run's precision, from its mean image, with the moving average of its weights if it has one.
"""

import functools

import numpy as np
import torch

from cifar10_utils import DataSet
from training.data import class_names, load_data
from training.errors import RunError
from training.evaluation import evaluate, predict_probabilities
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
    """A network of a script that uses NumPy alone.

    Args:
        make_model: function of the flags and the dtype.
        evaluate: that of the script, function of the model, a DataSet and the machine.
    """

    def __init__(self, flags, state, make_model, evaluate):
        super().__init__(flags, state)
        self.machine = NumpyMachine(flags)
        self.model = make_model(flags, self.machine.dtype)
        self.model.load_state_dict(state['model'])
        self._evaluate = evaluate

    def evaluate(self, data_set=None):
        """Mean loss and accuracy on a DataSet, by default the run's test set."""
        return self._evaluate(self.model, data_set or self.data['test'], self.machine)

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
    """The network of experiments/speedrun.py, which takes the mean of each channel off and convolves as torch does.

    Args:
        evaluate: that of the script, which normalises by itself.
    """

    def __init__(self, flags, state, make_model, evaluate):
        super().__init__(flags, state, make_model, 250)
        self.mean_image = self.mean_image.mean((1, 2), keepdims=True)
        self._evaluate = evaluate

    def _place(self, model):
        return model.to(self.machine.device, memory_format=self.machine.memory_format)

    def evaluate(self, data_set=None):
        """Mean loss and accuracy, of one view of each image, on a DataSet, by default the run's test set."""
        mean, std = (torch.from_numpy(value).to(self.machine.device) for value in (self.mean_image, self.std))
        data_set = data_set or self.data['test']
        loss, plain, _ = self._evaluate(self.model, data_set, lambda x: (x - mean) / std, self.machine)
        return loss, plain


def _averaged(state):
    """The weights that the run evaluated: their moving average if it has one."""
    if 'ema' not in state:
        return state['model']
    averaged = {name.removeprefix('module.'): value for name, value in state['ema'].items()}
    del averaged['n_averaged']
    return averaged
