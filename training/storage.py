"""A run on disk: its folder and the checkpoints in it."""

from functools import partial

from training.checkpoints import Checkpoints, State
from training.data import number_of_steps
from training.folder import RunFolder


class Storage:
    """Keeps the state of a run, in a folder that no other run writes to while it is open.

    Args:
        flags, machine, data: of the run.
        parts: {name: part} of all that has a state_dict; 'run' counts the steps; None is left out.
        say: function that prints a line.
    Attributes:
        folder, checkpoints: its RunFolder and its Checkpoints.
        path: of the folder.
    Raises:
        UsageError, RunError: as RunFolder and Checkpoints do.
    """

    def __init__(self, flags, machine, data, parts, say):
        schedule = getattr(flags, 'lr_schedule', 'of its own') if parts.get('scheduler') else 'constant'
        self.folder = RunFolder(flags, machine.compute, partial(number_of_steps, data=data), schedule)
        self.path, self.resume, self.run = self.folder.path, flags.resume, parts['run']
        self.machine, self.is_writer, self.say = machine, machine.processes.rank == 0, say
        parts = {name: part for name, part in parts.items() if part is not None}
        self.checkpoints = Checkpoints(self.path, State(flags, machine, data, parts))

    def open(self):
        """Takes the folder, and restores the run that goes on; every process calls it.

        Returns:
            whether the run continues a part of itself.
        """
        self.machine.processes.wait_for_all()  # until every process has looked at the folder as it was
        try:
            if self.is_writer and not self.folder.finished:
                self.folder.open()
            if self.resume and not self.folder.resuming:
                self.say(f'nothing to resume in {self.path}: starting')
            if not self.folder.finished:
                self.say(f'training on {self.machine}')
            continues = self.folder.resuming and self._restore()
            self.machine.processes.check_same_step(self.run.step)
            if self.is_writer:
                self.folder.lengthen()
        except BaseException:
            self.close()
            raise
        return continues

    def _restore(self):
        restored = self.checkpoints.restore()
        if not restored:
            self.say(f'there is no checkpoint in {self.path} yet: starting')
        elif not self.folder.finished:
            self.say(f'continuing {self.path} at step {self.run.step}')
        return restored and not self.folder.finished

    def close(self):
        """Lets other runs write to the folder."""
        self.folder.close()
