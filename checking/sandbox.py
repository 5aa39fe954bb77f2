"""Judging a folder in processes of its own, with limits of time and memory. It contains accidents, not attacks.

What comes back is read as anything might have been written, and checked field by field.
"""

import contextlib
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

from .items import CHECKS, asked, merged
from .processes import Job
from .solution import FILES, locate
from .verdicts import CRASH, MISSING, RIGHT, WRONG, Result

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


def result_of(event, pending):
    """The Result of an event about the first pending check, or None."""
    fields = event.get('result')
    if not isinstance(fields, list) or len(fields) != 4 or fields[0] != pending[0]:
        return None
    if not all(isinstance(field, str) for field in fields[1:]) or fields[1] not in (RIGHT, WRONG, CRASH, MISSING):
        return None
    return Result(CHECKS[pending[0]].name, *fields[1:])


def judge_part(folder, indices, limits, nursery):
    """Results of these checks on the folder, in one process of the nursery and, after each that is lost, in another."""
    pending, results, verdicts, broken = list(indices), [], {}, {}
    while pending:
        job = {
            'folder': str(folder),
            'pending': pending,
            'verdicts': verdicts,
            'broken': broken,
            'memory': limits.memory,
        }
        child, importing, why = Job(nursery, job), None, None
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


def judge_folder(folder, questions, limits, workers):
    """A function that waits for the Results of a folder, which the `workers` are at work on.

    Raises:
        FileNotFoundError: if no file of the assignment is in the folder or below.
    """
    found = locate(folder)
    if found is None:
        names = ', '.join(f'{name}.py' for name in FILES)
        raise FileNotFoundError(f'none of the files {names} is in {folder}')

    def judge(indices, nursery):
        with tempfile.TemporaryDirectory(prefix='check.', ignore_cleanup_errors=True) as temporary:
            copy = Path(temporary).resolve() / found.resolve().name
            mirror(found.resolve(), copy)
            return judge_part(copy, indices, limits, nursery)

    futures = [workers.submit(partial(judge, part)) for part in parts(questions)]
    return lambda: merged([result for future in futures for result in future.result()])
