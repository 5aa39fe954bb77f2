"""The run folder on disk, and its lock.

It holds
    config.json     command, flags, versions and hardware: what it takes to repeat the run
    history.csv     a row per evaluation
    summary.json    the last step's figures, with time and memory; written when the run has finished
    curves.pdf/png  loss and accuracy, train and test
    checkpoint.*    the whole state of training at the last evaluation, for --resume
    previous.*      the checkpoint before, until the run has finished: for --resume if the last one is damaged
"""

import argparse
import contextlib
import json
import os
from pathlib import Path

from data.locks import locked
from training.errors import RunError, UsageError
from training.files import reading, write_json
from training.provenance import command, hardware, versions

# These change where a run reads, writes and prints, not what it computes.
NOT_COMPUTED_WITH = {'data_dir', 'data_url', 'out_dir', 'resume', 'overwrite', 'quiet', 'tensorboard'}

LENGTH = {'max_steps', 'epochs'}

# All that a run writes; --overwrite takes no other file away.
OUTPUTS = ['summary.json', 'history.csv', 'confusion.csv', 'checkpoint.*', 'previous.*', 'tensorboard/events.*']
OUTPUTS += [f'{name}.{suffix}' for name in ('curves', 'confusion', 'mistakes', 'filters') for suffix in ('pdf', 'png')]


def has_checkpoint(folder):
    """Whether a run in this folder can be resumed. A .part, a checkpoint half written, does not count."""
    found = [file for pattern in ('checkpoint.*', 'previous.*') for file in Path(folder).glob(pattern)]
    return any(file.suffix != '.part' for file in found)


class RunFolder:
    """A folder that belongs to one run: refuses to overwrite another, or to resume with other flags.

    Args:
        flags: parsed flags. With `resume`, those of the run that is continued.
        compute: what else the numbers depend on, such as {'device': 'cpu'}; kept in the config.
        length: function of flags that gives the number of steps.
        schedule: name of what the learning rate follows; only a 'constant' one lets a run become longer.
    Attributes:
        path: the folder.
        resuming: whether it holds the run that goes on.
        finished: whether it holds the finished run, in which nothing is to change.
        lengthens: whether the run that goes on is to be longer than it was started.
    Raises:
        UsageError: if the folder holds a run and the flags do not say what to do with it, or are not its own.
    """

    def __init__(self, flags, compute, length, schedule='constant'):
        self.flags, self.compute, self.path, self.lock = flags, compute, Path(flags.out_dir), contextlib.ExitStack()
        self.length, self.schedule, self.lengthens, self.finished = length, schedule, False, False
        self._look()

    def _look(self):
        """Sees what the folder holds and whether the flags go with it."""
        config = self.path / 'config.json'
        self.resuming = bool(self.flags.resume) and config.exists()
        has_summary = (self.path / 'summary.json').exists()
        if self.resuming:
            self._check_config(config)
            if has_summary and not has_checkpoint(self.path):
                raise UsageError(f'{self.path} holds a finished run without its checkpoint: nothing to resume')
            self.finished = has_summary and self._summary_step() >= self.length(self.flags)
        elif config.exists() and not self.flags.overwrite:
            unfinished = 'an unfinished run' + (' (--resume continues it)' if has_checkpoint(self.path) else '')
            state = 'a finished run' if has_summary else unfinished
            raise UsageError(f'{self.path} holds {state}: choose another --out_dir, or --overwrite to replace it')
        elif not self.flags.overwrite and (found := self._outputs()):
            raise UsageError(
                f'{self.path} holds {found[0].name} of no known run: choose another --out_dir, or --overwrite'
            )

    def _outputs(self):
        """What an older run has left in the folder, its config apart."""
        return [old for pattern in OUTPUTS for old in self.path.glob(pattern)]

    def _check_config(self, config):
        """Raises UsageError if the flags are not those that the run was started with."""
        with reading(config):
            old = json.loads(config.read_text())
            started_by, old_flags, compute = old['command'], dict(old['flags']), dict(old['compute'])
            old = self.flags.defaults | old_flags | compute  # a new flag was at its default
            old_length = self.length(argparse.Namespace(**old))
        flags = vars(self.flags)
        if not old_flags.keys() <= flags.keys():
            raise UsageError(f'{self.path} is a run of another script or version, started by: {started_by}')
        now = flags | self.compute
        self.lengthens = self.length(self.flags) > old_length
        may_differ = NOT_COMPUTED_WITH | (LENGTH if self.lengthens else set())
        for name in sorted((old.keys() | now.keys()) - may_differ):
            if old.get(name) != now.get(name):
                label = f'--{name}' if name in flags else name
                raise UsageError(
                    f'--resume continues {self.path} as it was started: '
                    f'{label} is {old.get(name)} there, got {now.get(name)}'
                )
        if self.lengthens and self.schedule != 'constant':
            raise UsageError(
                f'{self.path} cannot become longer: its learning rate ({self.schedule}) depends on the length, '
                f'{old_length} steps; choose another --out_dir'
            )

    def _summary_step(self):
        """The step at which the run had finished: before the end, if it was made longer since."""
        summary = self.path / 'summary.json'
        with reading(summary):
            return int(json.loads(summary.read_text())['step'])

    def open(self):
        """Makes the folder, keeps other processes out of it, and writes its config, unless the run is resumed."""
        try:
            os.makedirs(os.path.realpath(self.path), exist_ok=True)  # of a link, the folder that it leads to
            self._lock()
            self._look()  # another run may have been here since
            if self.resuming:
                return
            for old in self._outputs():
                old.unlink()
        except OSError as error:
            raise RunError(f'cannot write {self.path}: {error.strerror}; choose another --out_dir') from error
        self._write_config({'versions': versions(), 'hardware': hardware()})

    def lengthen(self):
        """Writes the new length of a run that is to be longer into its config; its summary stays until the new end."""
        if self.lengthens:
            self._write_config(json.loads((self.path / 'config.json').read_text()))

    def _write_config(self, about):
        words = command(self.flags, self.compute.get('processes', 1))
        config = {'command': words, 'flags': vars(self.flags), 'compute': self.compute}
        write_json(self.path / 'config.json', about | config)

    def _lock(self):
        try:
            self.lock.enter_context(locked(self.path / '.lock'))
        except TimeoutError as error:
            raise UsageError(f'{self.path} is in use by another run: choose another --out_dir') from error

    def close(self):
        """Lets other processes in again."""
        self.lock.close()
