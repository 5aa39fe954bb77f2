"""The processes that train together, seen from one that trains alone."""

import os

from training.errors import RunError, UsageError


def told(name, default):
    """The whole number that torchrun told its processes under this name in the environment.

    Raises:
        UsageError: if it is none.
    """
    text = os.environ.get(name) or str(default)
    if not text.isdecimal():
        raise UsageError(f'{name} in the environment must be a whole number, got {text!r}: unset it to train alone')
    return int(text)


class Alone:
    """The one process of a run: what its group is asked, it answers itself.

    Attributes:
        rank, world_size: number of this process, and of all.
    """

    rank, world_size = 0, 1

    def meet(self, device):
        """Finds the others, with whom it is to compute on such devices."""

    def wait_for_all(self):
        """Waits until every process has come here."""

    def gather(self, value):
        """The values of all processes, in order of their rank."""
        return [value]

    def check_same_step(self, step):
        """Raises RunError if another process has restored another step."""
        if set(self.gather(step)) != {step}:
            raise RunError('the processes have read different checkpoints: they must share the folder --out_dir')

    def largest(self, number):
        """The largest of the processes' numbers, for which no device is waited."""
        return number

    def mean(self, values):
        """The means over the processes of the numbers in a tensor or array, which may change."""
        return values

    def sum(self, values):
        """The sums over the processes of the numbers in a tensor, which may change."""
        return values

    def share_buffers(self, model):
        """Gives every process the running statistics of the first."""

    def parallel(self, model):
        """The model, with gradients averaged over the processes where there are several; each drops other units.

        Args:
            model: of images (B, 3, 32, 32).
        """
        return model
