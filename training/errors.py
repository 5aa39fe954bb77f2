"""What goes wrong, by whose fault."""

import re


class UsageError(Exception):
    """The flags make no sense together or with what is on disk: exit status 2."""


class RunError(Exception):
    """The run failed: exit status 1."""


def is_out_of_memory(error):
    """Whether memory ran out; torch says so in a RuntimeError, in words that depend on the device."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and re.search('out of memory|allocate memory', str(error)) is not None
    )


class Interrupted(Exception):
    """A signal has ended the run after a step, and its state is saved: exit status 128 + the signal."""

    def __init__(self, signal):
        super().__init__(f'ended by {signal.name}')
        self.signal = signal
