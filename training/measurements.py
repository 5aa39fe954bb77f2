"""What a run measures: its steps, which are read late, and its evaluations."""

import math

from training.errors import RunError
from training.files import write_atomically
from training.history import History
from training.tensorboard import TensorBoard


class Measurements:
    """Sees to it that all losses are finite, and writes the history into the run folder.

    Args:
        flags, machine, data: of the run.
        path: its folder.
        evaluate: function of a DataSet that returns (loss, accuracy).
        progress: its Progress.
        optimizer: whose learning rate belongs into the history, or None: that of the flags, if they have one.
    Attributes:
        history: its History.
    Raises:
        RunError: if a loss is not finite.
    """

    def __init__(self, flags, machine, data, path, evaluate, progress, optimizer=None):
        self.flags, self.path, self.progress, self.history = flags, path, progress, History()
        self.evaluated = {name: data[name] for name in ('validation', 'test') if data[name].num_examples}
        self.evaluate, self.tensorboard = evaluate, TensorBoard(flags, path)
        self.optimizer, self.learning_rate = optimizer, None
        self.machine, self.unread = machine, []

    def start_step(self):
        """Notes the learning rate, before a scheduler changes it: that of the first group of parameters."""
        if self.optimizer:
            self.learning_rate = float(self.optimizer.param_groups[0]['lr'])
        else:
            self.learning_rate = getattr(self.flags, 'learning_rate', None)

    def count(self, loss, accuracy):
        """Counts the loss and accuracy of the batch of a step."""
        self.unread.append((self.machine.kept(loss), self.machine.kept(accuracy)))

    def read(self, step):
        """Reads what was counted up to this step; every process does so at the same steps."""
        losses, accuracies = zip(*self.unread, strict=True)
        figures = self.machine.read([*losses, *accuracies])
        n = len(self.unread)
        for i, (loss, accuracy) in enumerate(zip(figures[:n], figures[n:], strict=True)):
            self._check(step - n + 1 + i, loss)
            self.history.count(loss, accuracy)
        self.unread = []

    def add_row(self, step):
        """Evaluates after a step, and adds a row to the history."""
        figures = {name: self.evaluate(data_set) for name, data_set in self.evaluated.items()}
        for loss, _ in figures.values():
            self._check(step, loss)
        self.history.add(step, figures, self.learning_rate)
        self.progress.count_row()
        if step % self.flags.eval_freq == 0:
            self.history.start_row()

    def drop_last_row(self):
        """Takes the row of a last step away that is no longer the last: a longer run has no such row."""
        if self.history.step % self.flags.eval_freq:
            self.history.drop_row()
            self.progress.drop_row()

    def write(self):
        """Writes the history into the run folder."""
        self.tensorboard.write(self.history.rows[-1])
        write_atomically(self.path / 'history.csv', self.history.csv(self.progress.row_seconds))

    def _check(self, step, loss):
        if not math.isfinite(loss):
            kept = self.history.step
            state = f'the checkpoint of step {kept} in {self.path} is kept' if kept else 'there is no checkpoint yet'
            remedy = ': lower --learning_rate, with --overwrite' if hasattr(self.flags, 'learning_rate') else ''
            raise RunError(f'the loss is {loss} at step {step}{remedy}; {state}')

    def state_dict(self):
        return {'learning_rate': self.learning_rate} | self.history.state_dict()

    def load_state_dict(self, state):
        self.learning_rate = state['learning_rate']
        self.history.load_state_dict(state)
