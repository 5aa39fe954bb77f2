"""The processes that train together, seen from one that trains alone."""

import os
import time

from training.errors import RunError, UsageError

PATIENCE = 10  # seconds by which the first process may start later than another


def told(name, default):
    """The whole number that torchrun told its processes under this name in the environment.

    Raises:
        UsageError: if it is none.
    """
    text = os.environ.get(name) or str(default)
    if not text.isdecimal():
        raise UsageError(f'{name} in the environment must be a whole number, got {text!r}: unset it to train alone')
    return int(text)


def is_first():
    """Whether this process speaks for all that train together, or trains alone."""
    rank, n = os.environ.get('RANK', ''), os.environ.get('WORLD_SIZE') or '1'
    return n == '1' or not rank.isdecimal() or int(rank) == 0


def let_the_first_speak():
    """Waits, unless this process is the first, until that one will have said what is wrong with the flags of all.

    torchrun ends all as soon as one has failed: another that failed sooner would silence the first.
    """
    if not is_first():
        time.sleep(PATIENCE)


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
