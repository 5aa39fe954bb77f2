"""The state of a run on disk: the last checkpoint, and until the run has finished the one before."""

import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from training.errors import RunError
from training.files import reading, write_atomically


class State:
    """All that a run goes on from, as one nested dict.

    Args:
        flags, machine, data: of the run.
        parts: {name: part} of whatever else has a state_dict, NumPy's and PyTorch's alike.
    """

    def __init__(self, flags, machine, data, parts):
        self.flags, self.machine, self.data, self.parts = flags, machine, data, parts

    def state_dict(self):
        train_set = self.data['train']
        return {
            'script': Path(self.flags.script).stem,
            'flags': vars(self.flags),
            'random': self.machine.random_state(),
            'data': {split: data_set.state_dict() for split, data_set in self.data.items()},
            'normalisation': {'mean_image': train_set.mean_image, 'std': train_set.std},
        } | {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state):
        for name, part in self.parts.items():
            part.load_state_dict(state.get(name, {}))  # what has nothing to keep leaves nothing in a file
        for split, data_set in self.data.items():
            data_set.load_state_dict({name: np.asarray(value) for name, value in state['data'][split].items()})
        self.machine.set_random_state(state['random'])


class Checkpoints:
    """Two files in a run folder.

    Args:
        path: the folder.
        state: the State that they hold.
    """

    def __init__(self, path, state):
        self.state, self.machine = state, state.machine
        self.path = path / self.machine.checkpoint
        self.previous = self.path.with_name(f'previous{self.path.suffix}')

    def save(self):
        """Keeps the state, and what was kept before under the name `previous`; called by every process."""
        state = self.state.state_dict()
        if self.machine.processes.rank == 0:
            write_atomically(self.path, self.machine.dump(state), self.previous)

    def restore(self):
        """Loads the last checkpoint; if it is damaged or missing, the one before, and says so.

        Returns:
            whether there was one.
        Raises:
            RunError: if neither can be loaded.
        """
        if not self.previous.exists():
            if self.path.exists():
                self._load(self.path)
            return self.path.exists()
        try:
            self._load(self.path)
        except RunError:
            if self.machine.processes.rank == 0:
                line = f'{self.path} is damaged or missing: taking the one before, {self.previous}'
                tqdm.write(line, file=sys.stderr)
            self._load(self.previous)
            if self.machine.processes.rank == 0:
                self.path.unlink(missing_ok=True)  # or the next one would push `previous` out
        return True

    def _load(self, path):
        with reading(path):
            self.state.load_state_dict(self.machine.load(path))

    def forget_previous(self):
        self.previous.unlink(missing_ok=True)
