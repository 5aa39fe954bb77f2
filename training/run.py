"""One training run: the steps that are left, and what is due after each."""

from signal import SIGTERM

from tqdm import tqdm

from training.data import class_names, number_of_steps
from training.errors import Interrupted
from training.measurements import Measurements
from training.plots import Curves
from training.progress import Progress
from training.results import Results
from training.signals import Signals
from training.storage import Storage


class Run:
    """Keeps all that has a state: hands out the batches of the steps that are left, logs, evaluates, saves, resumes.

    Args:
        flags: parsed flags.
        machine: a NumpyMachine or a TorchMachine.
        data: {'train', 'validation', 'test'}: DataSets.
        evaluate: function of a DataSet that returns (loss, accuracy).
        max_steps: length of the run; by default that of the flags.
        parts: the model, and whatever else has a state_dict, or None.
    Attributes:
        step: steps done.
        finished: whether the folder holds the finished run, in which nothing is to change.
        history: a dict per evaluation, in order of steps.
    Raises:
        UsageError, RunError: as Storage and Measurements do.
        Interrupted: after a signal, when the step has ended and the state is saved.
    """

    def __init__(self, flags, machine, data, *, evaluate, max_steps=None, **parts):
        self.flags, self.machine, self.data = flags, machine, data
        self.max_steps, self.step = max_steps or number_of_steps(flags, data), 0
        self.progress = Progress(flags.batch_size, self.max_steps, machine.started)
        self.storage = Storage(flags, machine, data, {'run': self, 'cost': self.progress} | parts, self.print)
        self.path, self.is_writer = self.storage.path, machine.processes.rank == 0
        self.measured = Measurements(flags, machine, data, self.path, evaluate, self.progress, parts.get('optimizer'))
        self.signals, self.curves = Signals(), Curves(self.path, flags)

    @property
    def finished(self):
        return self.storage.folder.finished

    @property
    def history(self):
        return self.measured.history.rows

    def __enter__(self):
        if self.storage.open():
            self.measured.drop_last_row()
        self.signals.__enter__()
        return self

    def __exit__(self, *_):
        self.signals.__exit__()
        self.storage.close()

    def print(self, line):
        """Prints a line above the progress bar, unless --quiet."""
        if self.is_writer and not self.flags.quiet:
            tqdm.write(line)

    def steps(self):
        """The numbers of the steps that are left, while a bar shows them."""
        with self.progress.bar(self.step, off=self.flags.quiet or not self.is_writer):
            if self.measured.history.step < self.step and self._is_evaluation_due():  # a signal came before it
                self._evaluate()
            while self.step < self.max_steps:
                self.measured.start_step()
                yield self.step

    def batches(self):
        """The batches (x, y) of the steps that are left."""
        for _ in self.steps():
            yield self.machine.next_batch(self.data['train'], self.flags.batch_size)

    def after_step(self, loss, accuracy):
        """Counts a step with the loss and accuracy of its batch; logs, evaluates and saves when that is due."""
        self.step += 1
        self.measured.count(loss, accuracy)
        signal = self.machine.processes.largest(int(self.signals.received or 0))
        if signal or self._is_evaluation_due() or self.step % self.machine.read_every == 0:
            self.measured.read(self.step)
        self.progress.count()  # now, when a device has done what it was given to do
        if signal:
            self.storage.checkpoints.save()
            if self.is_writer and self.history:
                self.curves.draw(self.history)
            raise Interrupted(self.signals.received or SIGTERM)  # or another process has received it
        if self._is_evaluation_due():
            self._evaluate()

    def _is_evaluation_due(self):
        return self.step % self.flags.eval_freq == 0 or self.step == self.max_steps

    def _evaluate(self):
        self.measured.add_row(self.step)
        pace = self.progress.pace(self.step)
        self._write_history()
        self.storage.checkpoints.save()
        self.print(f'step {self.step:>{len(str(self.max_steps))}}  {self.measured.history.line()}{pace}')
        self.progress.pause()

    def _write_history(self):
        if self.is_writer:
            self.measured.write()
            self.curves.update(self.history)

    def state_dict(self):
        return {'step': self.step} | self.measured.state_dict()

    def load_state_dict(self, state):
        self.step = state['step']
        self.measured.load_state_dict(state)

    def finish(self, predict=None, filters=None, **figures):
        """Writes the summary, the figures of the last step, and draws what there is to see; every process calls it.

        Args:
            predict: function that returns probabilities (N, C) of the test images, for the confusion matrix and the
                worst mistakes.
            filters: (n, 3, h, w) of a first convolution.
            figures: what else belongs into the summary.
        """
        if self.finished:
            self.print(f'{self.path} had finished: nothing to do')
            return
        probabilities = predict() if predict else None
        if self.is_writer:
            results = Results(self.path, self.data['test'], class_names(self.flags), probabilities)
            last = results.write_summary(self.history[-1], figures, self.progress.cost())
            self.storage.checkpoints.forget_previous()
            self.print('test accuracy {test_accuracy:.4f} after {step} steps and {seconds:.1f} s'.format(**last))
            drawn = self.curves.draw(self.history)
            results.draw(filters)
            self.print(f'results in {self.path}' + (f', curves in {self.path / "curves.png"}' if drawn else ''))
