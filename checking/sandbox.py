"""Judging a folder in processes of its own, with limits of time and memory. It contains accidents, not attacks.

What comes back is read as anything might have been written: lines of JSON, of bounded length, checked field by field.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from .items import CHECKS, asked, merged
from .solution import FILES, locate
from .verdicts import CRASH, MISSING, RIGHT, WRONG, Result

CHILD = Path(__file__).with_name('child.py')
START_SECONDS = 60  # for our own imports, on a machine that is busy
MAX_BYTES = 2**18  # of all that a process may report
SMALL = 2**20
MAX_FILES = 3000
SKIPPED = {'__pycache__', 'node_modules', 'site-packages', 'venv', 'env', 'wandb', 'runs', 'logs'}


class Limits(NamedTuple):
    """Seconds for each part, and bytes of memory for a process."""

    seconds: float = 10.0
    memory: int = 4 * 2**30


def mirror(folder, copy):
    """Makes `copy` look like the folder, small files copied and large ones linked: what is written there stays."""
    left = MAX_FILES
    for path, folders, files in os.walk(folder):
        folders[:] = sorted(n for n in folders if n not in SKIPPED and not n.startswith('.'))
        there = Path(copy) / Path(path).relative_to(folder)
        there.mkdir(parents=True, exist_ok=True)
        first = [f'{name}.py' for name in FILES]
        for name in sorted(files, key=lambda n, first=first: (n not in first, not n.endswith('.py'), n)):
            source = Path(path) / name
            left -= 1
            if left < 0:
                return
            with contextlib.suppress(OSError):
                if source.is_file() and source.stat().st_size <= SMALL:
                    shutil.copyfile(source, there / name)
                elif source.is_file():
                    (there / name).symlink_to(source.resolve())


def environment():
    """That of the solution's process: nothing is drawn on a screen, no GPU, one thread, no bytecode left behind."""
    return os.environ | {
        'MPLBACKEND': 'Agg',
        'CUDA_VISIBLE_DEVICES': '',
        'OMP_NUM_THREADS': '1',
        'OPENBLAS_NUM_THREADS': '1',
        'MKL_NUM_THREADS': '1',
        'PYTHONDONTWRITEBYTECODE': '1',
        'PYTHONIOENCODING': 'utf-8',
        'PYTHONHASHSEED': '0',
    }


class Child:
    """A process that judges; its events are read as they come."""

    def __init__(self, job):
        self._channel, theirs = os.pipe()
        self._rest, self._total, self.is_ready = b'', 0, False
        try:
            self.process = subprocess.Popen(
                [sys.executable, '-W', 'ignore', str(CHILD), str(theirs), json.dumps(job)],
                cwd=job['folder'],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs],
                start_new_session=True,
            )
        finally:
            os.close(theirs)

    def events(self, seconds):
        """The events as dicts, each at most so many seconds after the one before; TimeoutError if none comes."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            if time.monotonic() > deadline:
                raise TimeoutError
            ended = self.process.poll() is not None
            readable, _, _ = select.select([self._channel], [], [], 0 if ended else 0.1)
            if readable:
                data = os.read(self._channel, 65536)
                self._total += len(data)
                if not data or self._total > MAX_BYTES:
                    return
                *lines, self._rest = (self._rest + data).split(b'\n')
                for line in lines:
                    deadline = time.monotonic() + seconds
                    yield parsed(line)
            elif ended:
                return

    def how_it_ended(self):
        """What to say of a process that stopped by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(1)
            if code < 0:
                name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
                return f'the process is killed by {name}' + (': out of memory?' if name == 'SIGKILL' else '')
            return f'the process ends in it, with status {code}: sys.exit or os._exit?'
        return 'the process stops answering in it'

    def stop(self):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._channel)


def parsed(line):
    """The event of a line, or {} if it is none."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def result_of(event, pending):
    """The Result of an event about the first pending check, or None."""
    fields = event.get('result')
    if not isinstance(fields, list) or len(fields) != 4 or fields[0] != pending[0]:
        return None
    if not all(isinstance(field, str) for field in fields[1:]) or fields[1] not in (RIGHT, WRONG, CRASH, MISSING):
        return None
    return Result(CHECKS[pending[0]].name, *fields[1:])


def judge_part(folder, indices, limits):
    """Results of these checks on the folder, in one process and, after each that is lost, in another."""
    pending, results, verdicts, broken = list(indices), [], {}, {}
    while pending:
        job = {
            'folder': str(folder),
            'pending': pending,
            'verdicts': verdicts,
            'broken': broken,
            'memory': limits.memory,
        }
        child, importing, why = Child(job), None, None
        try:
            for event in child.events(limits.seconds):
                if 'failed' in event and not child.is_ready:
                    raise ChildProcessError(f'the process that judges cannot start: {event["failed"]}'[:300])
                child.is_ready |= 'ready' in event
                if event.get('import') in (None, *FILES):
                    importing = event.get('import') if 'import' in event else importing
                if (result := result_of(event, pending)) is not None:
                    results.append(result)
                    verdicts[result.item] = result.verdict
                    pending.pop(0)
                    if not pending:
                        break
            else:
                why = child.how_it_ended()
        except TimeoutError:
            why = f'it has not ended after {limits.seconds:g} seconds, and was stopped'
        finally:
            child.stop()
        if pending:
            if importing:
                why = f'the import of {importing}.py: {why}'
                broken[importing] = why
            results.append(Result(CHECKS[pending[0]].name, CRASH, why))
            verdicts[results[-1].item] = CRASH
            pending.pop(0)
    return results


def parts(questions):
    """The checks asked for, as the two lists that are judged at the same time: with NumPy alone, and with PyTorch."""
    indices = asked(questions)
    lists = [[i for i in indices if CHECKS[i].is_torch == is_torch] for is_torch in (False, True)]
    return [part for part in lists if part]


def judge_folder(folder, questions, limits, pool):
    """A function that waits for the Results of a folder, which `pool` is at work on.

    Raises:
        FileNotFoundError: if no file of the assignment is in the folder or below.
    """
    found = locate(folder)
    if found is None:
        names = ', '.join(f'{name}.py' for name in FILES)
        raise FileNotFoundError(f'none of the files {names} is in {folder}')

    def judge(indices):
        with tempfile.TemporaryDirectory(prefix='check.', ignore_cleanup_errors=True) as temporary:
            copy = Path(temporary).resolve() / found.resolve().name
            mirror(found.resolve(), copy)
            return judge_part(copy, indices, limits)

    futures = [pool.submit(judge, part) for part in parts(questions)]
    return lambda: merged([result for future in futures for result in future.result()])
