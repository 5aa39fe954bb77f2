"""What a run costs: time, speed and memory; and how much of it is left."""

import time

from tqdm import tqdm

from training.provenance import peak_memory_mb


class Progress:
    """A bar that counts images and shows their rate and the time left; and the cost, before and after any resume.

    Args:
        batch_size: images in a step.
        max_steps: length of the run.
        started: time at which this process began the run, by time.perf_counter.
    Attributes:
        row_seconds: seconds of the run at each row of the history, in which equal runs differ.
    """

    def __init__(self, batch_size, max_steps, started):
        self.batch_size, self.max_steps, self.started = batch_size, max_steps, started
        self.steps, self.step_seconds, self.mark, self.shown = 0, 0.0, None, None
        self.seconds_before, self.peak_before, self.row_seconds = 0.0, None, []
        self.began = None, 0  # time and step at which this process went on

    def bar(self, step, off):
        """The bar as a context, at this step; without one if `off`, or where stderr is no terminal."""
        total, done = self.max_steps * self.batch_size, step * self.batch_size
        self.began = time.perf_counter(), step
        self.shown = tqdm(
            total=total, initial=done, unit=' images', unit_scale=True, disable=off or None, dynamic_ncols=True
        )
        return self.shown

    def count(self):
        """Counts a step."""
        now = time.perf_counter()
        if self.mark:
            self.steps += 1
            self.step_seconds += now - self.mark
        self.mark = now
        self.shown.update(self.batch_size)

    def count_row(self):
        """Counts a row of the history."""
        self.row_seconds.append(round(self.seconds(), 2))

    def drop_row(self):
        """Takes the last row away."""
        del self.row_seconds[-1]

    def pause(self):
        """What follows, until the next step has been counted, is no step."""
        self.mark = None

    def pace(self, step):
        """Images per second of the steps alone, and the time left, evaluations included: the end of a line."""
        started, first = self.began
        words = [f'  {rate:,} images/s'] if (rate := self._rate()) else []
        if first < step < self.max_steps:
            left = (time.perf_counter() - started) / (step - first) * (self.max_steps - step)
            words.append(f'  {tqdm.format_interval(left)} left')
        return ''.join(words)

    def _rate(self):
        """Images per second of the steps so far, None where none was timed."""
        return round(self.steps * self.batch_size / self.step_seconds) if self.step_seconds else None

    def seconds(self):
        """Seconds of the whole run, whatever is done in them."""
        return self.seconds_before + time.perf_counter() - self.started

    def peak(self):
        """Largest resident size so far in MB, or None where the system does not say."""
        return max(filter(None, (self.peak_before, peak_memory_mb())), default=None)

    def cost(self):
        """The figures of the summary; images per second are those of the steps alone, None where none was timed."""
        return {'seconds': round(self.seconds(), 2), 'images_per_second': self._rate(), 'peak_memory_mb': self.peak()}

    def state_dict(self):
        timed = {'steps': self.steps, 'step_seconds': self.step_seconds}
        return {'seconds': self.seconds(), 'peak_memory_mb': self.peak(), 'row_seconds': self.row_seconds} | timed

    def load_state_dict(self, state):
        self.seconds_before, self.peak_before = state['seconds'], state['peak_memory_mb']
        self.steps, self.step_seconds = state['steps'], state['step_seconds']
        self.row_seconds = state['row_seconds']
