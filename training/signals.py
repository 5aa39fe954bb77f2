"""Signals that end a run: they let the step end and the state be saved."""

import contextlib
import signal

ENDING = [getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, name)]


class Signals:
    """While it is open, Ctrl-C, a batch system's notice and a closed terminal are noted; the second one acts at once.

    Attributes:
        received: the signal that has come, or None.
    """

    def __init__(self):
        self.received, self._before = None, {}

    def __enter__(self):
        with contextlib.suppress(ValueError):  # only the main thread gets signals
            for number in ENDING:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_):
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)

    def _note(self, number, _):
        self.received = signal.Signals(number)
        self.__exit__()
