"""What a run has measured so far."""

import csv
import io

import numpy as np


class History:
    """A row per evaluation, and the steps since the last one.

    Attributes:
        rows: a dict per evaluation, in order of steps.
        seconds: of the run at each row; apart, since equal runs have equal rows.
        losses, accuracies: of the training batches since the last row.
    """

    def __init__(self):
        self.rows, self.seconds, self.losses, self.accuracies = [], [], [], []

    @property
    def step(self):
        """That of the last row, or 0."""
        return self.rows[-1]['step'] if self.rows else 0

    def count(self, loss, accuracy):
        """Counts the loss and accuracy of a training batch."""
        self.losses.append(loss)
        self.accuracies.append(accuracy)

    def add(self, step, evaluated, learning_rate, seconds):
        """Adds a row: the means over the training batches since the last row, and {'test': (loss, accuracy), ...}."""
        pairs = {'train': (float(np.mean(self.losses)), float(np.mean(self.accuracies)))} | evaluated
        row = {'step': step}
        for name, (loss, accuracy) in pairs.items():
            row |= {f'{name}_loss': loss, f'{name}_accuracy': accuracy}
        if learning_rate is not None:
            row['learning_rate'] = learning_rate
        self.rows.append(row)
        self.seconds.append(round(seconds, 2))

    def start_row(self):
        """From here on, batches count for the next row."""
        self.losses, self.accuracies = [], []

    def drop_row(self):
        """Takes the last row away, after which no other was started."""
        del self.rows[-1], self.seconds[-1]

    def line(self):
        """The last row in words."""
        row = self.rows[-1]
        names = [name.removesuffix('_loss') for name in row if name.endswith('_loss')]
        return '  '.join(
            f'{name} loss {row[f"{name}_loss"]:.4f} accuracy {row[f"{name}_accuracy"]:.4f}' for name in names
        )

    def csv(self):
        """All rows as the bytes of a CSV file."""
        text = io.StringIO()
        table = csv.DictWriter(text, [*self.rows[-1], 'seconds'], lineterminator='\n')
        table.writeheader()
        table.writerows(row | {'seconds': seconds} for row, seconds in zip(self.rows, self.seconds, strict=True))
        return text.getvalue().encode()

    def state_dict(self):
        return {'rows': self.rows, 'seconds': self.seconds, 'losses': self.losses, 'accuracies': self.accuracies}

    def load_state_dict(self, state):
        self.rows, self.seconds = state['rows'], state['seconds']
        self.losses, self.accuracies = state['losses'], state['accuracies']
