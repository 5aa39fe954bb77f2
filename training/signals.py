"""Signals that end a run: they let the step end and the state be saved."""

import contextlib
import signal

ENDING = [getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, name)]


class Signals:
    """While it is open, Ctrl-C, a batch system's notice and a closed terminal are noted; a second Ctrl-C acts at once.

    A second notice does not: a batch system sends its own to each process, and torchrun passes on another. What is
    ignored, as nohup has it for a closed terminal, stays ignored.

    Attributes:
        received: the first signal that has come, or None.
    """

    def __init__(self):
        self.received, self._before = None, {}

    def __enter__(self):
        with contextlib.suppress(ValueError):  # only the main thread gets signals
            for number in ENDING:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_):
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)

    def _note(self, number, _):
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or signal.Signals(number)
