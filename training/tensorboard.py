"""The history for TensorBoard, where --tensorboard asks for it: tensorboard --logdir runs."""

from training.errors import UsageError


class TensorBoard:
    """Writes rows of the history into a run folder; it does nothing without the flag.

    Raises:
        UsageError: if the package is missing.
    """

    def __init__(self, flags, path):
        self.path, self.make, self.writer = path / 'tensorboard', None, None
        if getattr(flags, 'tensorboard', False):
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise UsageError('--tensorboard needs a package that is missing: pip install tensorboard') from error
            self.make = SummaryWriter

    def write(self, row):
        """Writes a row of the history."""
        if self.make is None:
            return
        self.writer = self.writer or self.make(self.path, purge_step=row['step'])
        for name, value in row.items():
            self.writer.add_scalar(name, value, row['step'])
        self.writer.flush()
