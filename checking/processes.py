"""Processes that judge, seen from outside: started, listened to, and stopped in time. See nursery.py.

What comes back is read as anything might have been written: lines of JSON, of bounded length.
"""

import contextlib
import json
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FILE = Path(__file__).with_name('nursery.py')
START_SECONDS = 60  # for our own imports, on a machine that is busy
STOP_SECONDS = 10
MAX_BYTES = 2**18  # of all that a job may report
SCREENS = {'DISPLAY', 'WAYLAND_DISPLAY'}


def environment():
    """That of the solution's process: nothing is drawn on a screen, no GPU, one thread, no bytecode left behind."""
    return {name: value for name, value in os.environ.items() if name not in SCREENS} | {
        'MPLBACKEND': 'Agg',
        'CUDA_VISIBLE_DEVICES': '',
        'OMP_NUM_THREADS': '1',
        'OPENBLAS_NUM_THREADS': '1',
        'MKL_NUM_THREADS': '1',
        'PYTHONDONTWRITEBYTECODE': '1',
        'PYTHONIOENCODING': 'utf-8',
        'PYTHONHASHSEED': '0',
    }


class Nursery:
    """A process that judges one job after the other, each in a child of its own. It is started when it is needed."""

    def __init__(self):
        self.process, self.control, self.is_closed = None, None, False

    def send(self, job, channel):
        """Starts a job, whose events are written to the file descriptor `channel`."""
        if self.is_closed:
            raise InterruptedError('the judging has been given up')
        if self.process is None:
            self.control, theirs = socket.socketpair()
            with theirs:
                self.process = subprocess.Popen(
                    [sys.executable, '-W', 'ignore', str(FILE), str(theirs.fileno())],
                    env=environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
        socket.send_fds(self.control, [json.dumps(job).encode()], [channel])

    def answer(self, seconds):
        """The exit code of the job that has ended; None if it was stopped, or if the nursery is lost."""
        if select.select([self.control], [], [], seconds)[0]:
            with contextlib.suppress(ValueError, OSError):
                if text := self.control.recv(4096):
                    return json.loads(text)
        self.lose()
        return None

    def lose(self):
        """Ends the process; the next job starts another one."""
        if self.process is not None:
            self.control.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)  # it ends its children first
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self):
        """Gives up, from any thread: the process sees it, and ends with whatever it has started."""
        self.is_closed = True
        with contextlib.suppress(OSError, AttributeError):
            self.control.shutdown(socket.SHUT_RDWR)


class Workers:
    """So many threads, each of which may have a nursery at work."""

    def __init__(self, n):
        self.pool, self.idle = ThreadPoolExecutor(n), queue.SimpleQueue()
        self.nurseries = [Nursery() for _ in range(n)]
        for nursery in self.nurseries:
            self.idle.put(nursery)

    def submit(self, work):
        """The future of work(nursery)."""

        def with_nursery():
            nursery = self.idle.get()
            try:
                return work(nursery)
            finally:
                self.idle.put(nursery)

        return self.pool.submit(with_nursery)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for nursery in self.nurseries:
            nursery.close()
        self.pool.shutdown(cancel_futures=True)
        for nursery in self.nurseries:
            nursery.lose()


class Job:
    """A job at work in a nursery; its events are read as they come."""

    def __init__(self, nursery, job):
        self.nursery, self.code, self.has_ended, self.is_ready = nursery, None, False, False
        self._rest, self._total = b'', 0
        self._channel, theirs = os.pipe()
        try:
            nursery.send(job, theirs)
        except BaseException:
            os.close(self._channel)
            raise
        finally:
            os.close(theirs)

    def events(self, seconds):
        """The events as dicts, each at most so many seconds after the one before; TimeoutError if none comes."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            left = deadline - time.monotonic()
            if left < 0:
                raise TimeoutError
            waiting = [self._channel] if self.has_ended else [self._channel, self.nursery.control]
            readable, _, _ = select.select(waiting, [], [], 0 if self.has_ended else left)
            if self._channel in readable:
                data = os.read(self._channel, 65536)
                self._total += len(data)
                if not data or self._total > MAX_BYTES:
                    return
                *lines, self._rest = (self._rest + data).split(b'\n')
                for line in lines:
                    deadline = time.monotonic() + seconds
                    yield parsed(line)
            elif self.has_ended:
                return
            elif readable:
                self.code, self.has_ended = self.nursery.answer(0), True

    def how_it_ended(self):
        """What to say of a job that stopped by itself."""
        if not self.has_ended and select.select([self.nursery.control], [], [], 1)[0]:
            self.code, self.has_ended = self.nursery.answer(0), True
        if self.code is None:
            return 'the process stops answering in it'
        if self.code < 0:
            known = -self.code in set(signal.Signals)
            name = signal.Signals(-self.code).name if known else str(-self.code)
            return f'the process is killed by {name}' + (': out of memory?' if name == 'SIGKILL' else '')
        return f'the process ends in it, with status {self.code}: sys.exit or os._exit?'

    def stop(self):
        if not self.has_ended:
            with contextlib.suppress(OSError):
                self.nursery.control.sendall(b's')
            self.nursery.answer(STOP_SECONDS)
        os.close(self._channel)


def parsed(line):
    """The event of a line, or {} if it is none."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}
