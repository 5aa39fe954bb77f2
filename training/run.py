"""One training run: batches, history, checkpoints, summary."""

import math
from functools import partial
from signal import SIGTERM

from tqdm import tqdm

from training.checkpoints import Checkpoints, State
from training.data import class_names, number_of_steps
from training.errors import Interrupted, RunError
from training.files import write_atomically, write_json
from training.folder import RunFolder
from training.history import History
from training.plots import draw_curves, draw_filters, draw_predictions, write_confusion
from training.progress import Progress
from training.signals import Signals
from training.tensorboard import TensorBoard


class Run:
    """Keeps all that has a state: hands out the batches of the steps that are left, logs, evaluates, saves, resumes.

        with Run(flags, machine, data, evaluate=..., model=model, ...) as run:
            for x, y in run.batches():
                ...
                run.after_step(loss, accuracy(logits, y))
            run.finish()

    Args:
        flags: parsed flags.
        machine: a NumpyMachine or a TorchMachine.
        data: {'train', 'validation', 'test'}: DataSets.
        evaluate: function of a DataSet that returns (loss, accuracy).
        max_steps: length of the run; by default that of the flags.
        parts: the model, and whatever else has a state_dict; None is left out.
    Attributes:
        step: steps done.
        learning_rate: of the last step; None where the script does not say.
        max_steps: length of the run.
        finished: whether the folder holds the finished run, in which nothing is to change.
    Raises:
        UsageError, RunError: as RunFolder and Checkpoints do; RunError if a loss is not finite.
        Interrupted: after a signal, when the step has ended and the state is saved.
    """

    def __init__(self, flags, machine, data, *, evaluate, max_steps=None, **parts):
        self.flags, self.machine, self.data, self.evaluate = flags, machine, data, evaluate
        self.max_steps = max_steps or number_of_steps(flags, data)
        schedule = getattr(flags, 'lr_schedule', 'of its own') if parts.get('scheduler') else 'constant'
        self.folder = RunFolder(flags, machine.compute, partial(number_of_steps, data=data), schedule)
        self.path, self.is_writer = self.folder.path, machine.rank == 0
        self.progress = Progress(flags.batch_size, self.max_steps, machine.started)
        parts = {'run': self, 'cost': self.progress} | {name: part for name, part in parts.items() if part is not None}
        self.checkpoints = Checkpoints(self.path, State(flags, machine, data, parts))
        self.optimizer = parts.get('optimizer')
        self.step, self.learning_rate, self.log, self.signals = 0, None, History(), Signals()
        self.tensorboard = TensorBoard(flags, self.path)

    @property
    def finished(self):
        return self.folder.finished

    @property
    def history(self):
        """A dict per evaluation, in order of steps."""
        return self.log.rows

    def __enter__(self):
        self.machine.wait_for_all()  # until every process has looked at the folder as it was
        try:
            if self.is_writer and not self.finished:
                self.folder.open()
            if self.flags.resume and not self.folder.resuming:
                self.print(f'nothing to resume in {self.path}: starting')
            if not self.finished:
                self.print(f'training on {self.machine}')
            self._restore()
            if self.is_writer:
                self.folder.lengthen()
        except BaseException:
            self.folder.close()
            raise
        self.signals.__enter__()
        return self

    def __exit__(self, *_):
        self.signals.__exit__()
        self.folder.close()

    def _restore(self):
        if self.folder.resuming:
            if not self.checkpoints.restore():
                self.print(f'there is no checkpoint in {self.path} yet: starting')
            elif not self.finished:
                self.print(f'continuing {self.path} at step {self.step}')
                if self.log.step % self.flags.eval_freq:  # where it had ended before: a long run has no such row
                    self.log.drop_row()
                    self.progress.drop_row()
        self.machine.check_same_step(self.step)

    def print(self, line):
        """Prints a line above the progress bar, unless --quiet."""
        if self.is_writer and not self.flags.quiet:
            tqdm.write(line)

    def steps(self):
        """The numbers of the steps that are left, while a bar shows them."""
        with self.progress.bar(self.step, off=self.flags.quiet or not self.is_writer):
            if self.log.step < self.step and self._is_evaluation_due():  # a signal came before the evaluation
                self._evaluate()
            while self.step < self.max_steps:
                self.learning_rate = self._next_learning_rate()
                yield self.step

    def _next_learning_rate(self):
        """That of the first group of parameters, or None if the script does not say."""
        if self.optimizer:
            return float(self.optimizer.param_groups[0]['lr'])
        return getattr(self.flags, 'learning_rate', None)

    def batches(self):
        """The batches (x, y) of the steps that are left."""
        for _ in self.steps():
            yield self.machine.next_batch(self.data['train'], self.flags.batch_size)

    def after_step(self, loss, accuracy):
        """Counts a step with the loss and accuracy of its batch; logs, evaluates and saves when that is due."""
        self.step += 1
        self.progress.count()
        loss, accuracy, signal = self.machine.mean(loss, accuracy, self.signals.received or 0)
        self.log.count(loss, accuracy)
        self._check_loss(loss)
        if signal:
            self.checkpoints.save()
            raise Interrupted(self.signals.received or SIGTERM)  # or another process has received it
        if self._is_evaluation_due():
            self._evaluate()

    def _is_evaluation_due(self):
        return self.step % self.flags.eval_freq == 0 or self.step == self.max_steps

    def _check_loss(self, loss):
        if not math.isfinite(loss):
            kept = self.log.step
            state = f'the checkpoint of step {kept} in {self.path} is kept' if kept else 'there is no checkpoint yet'
            remedy = ': lower --learning_rate, with --overwrite' if hasattr(self.flags, 'learning_rate') else ''
            raise RunError(f'the loss is {loss} at step {self.step}{remedy}; {state}')

    def _evaluate(self):
        evaluated = {
            name: self.evaluate(self.data[name]) for name in ('validation', 'test') if self.data[name].num_examples
        }
        for loss, _ in evaluated.values():
            self._check_loss(loss)  # a row is not added then, nor a checkpoint written
        self.log.add(self.step, evaluated, self.learning_rate)
        self.progress.count_row()
        if self.step % self.flags.eval_freq == 0:
            self.log.start_row()
        self._write_history()
        self.checkpoints.save()
        self.print(f'step {self.step:>{len(str(self.max_steps))}}  {self.log.line()}')
        self.progress.pause()

    def _write_history(self):
        if self.is_writer:
            self.tensorboard.write(self.history[-1])
            write_atomically(self.path / 'history.csv', self.log.csv(self.progress.row_seconds))

    def state_dict(self):
        return {'step': self.step, 'learning_rate': self.learning_rate} | self.log.state_dict()

    def load_state_dict(self, state):
        self.step, self.learning_rate = state['step'], state['learning_rate']
        self.log.load_state_dict(state)

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
            self._write_summary(probabilities, figures)
            drawn = draw_curves(self.path, self.history)
            if predict:
                draw_predictions(self.path, self.data['test'], probabilities, class_names(self.flags))
            if filters is not None:
                draw_filters(self.path, filters)
            self.print(f'results in {self.path}' + (f', curves in {self.path / "curves.png"}' if drawn else ''))

    def _write_summary(self, probabilities, figures):
        if probabilities is not None:
            names = class_names(self.flags)
            figures['class_accuracy'] = write_confusion(self.path, self.data['test'].labels, probabilities, names)
        cost, last = self.progress.cost(), self.history[-1]
        write_json(self.path / 'summary.json', last | figures | cost)
        self.checkpoints.forget_previous()
        self.print(f'test accuracy {last["test_accuracy"]:.4f} after {self.step} steps and {cost["seconds"]:.1f} s')
