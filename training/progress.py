"""How fast a run is, and how much of it is left."""

import time

from tqdm import tqdm


class Progress:
    """A bar that counts images and shows their rate and the time left, and the rate of the training steps alone.

    Args:
        batch_size: images in a step.
        max_steps: length of the run.
    """

    def __init__(self, batch_size, max_steps):
        self.batch_size, self.max_steps = batch_size, max_steps
        self.steps, self.seconds, self.mark, self.shown = 0, 0.0, None, None

    def bar(self, step, off):
        """The bar as a context, at this step; without one if `off`, or where stderr is no terminal."""
        total, done = self.max_steps * self.batch_size, step * self.batch_size
        self.shown = tqdm(
            total=total, initial=done, unit=' images', unit_scale=True, disable=off or None, dynamic_ncols=True
        )
        return self.shown

    def count(self):
        """Counts a step."""
        now = time.perf_counter()
        if self.mark:
            self.steps += 1
            self.seconds += now - self.mark
        self.mark = now
        self.shown.update(self.batch_size)

    def pause(self):
        """What follows, until the next step has been counted, is no step."""
        self.mark = None

    def rate(self):
        """Images per second of the steps, or None where none was timed."""
        return round(self.steps * self.batch_size / self.seconds) if self.steps else None
