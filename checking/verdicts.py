"""What a check says: right, wrong, crash or missing, by how much, and why."""

import contextlib
import dis
import linecache
import traceback
import warnings
from pathlib import Path
from typing import NamedTuple

from .guard import Shared

RIGHT, WRONG, CRASH, MISSING = 'right', 'wrong', 'crash', 'missing'
HERE = Path(__file__).resolve().parent


class Result(NamedTuple):
    """An item's verdict, with the detail that a student reads and the hint that was earned; both may be empty."""

    item: str
    verdict: str
    detail: str = ''
    hint: str = ''


class Note(NamedTuple):
    """What a check returns that finds nothing wrong and has something to say all the same."""

    detail: str
    hint: str = ''


class Wrong(Exception):
    """The part computes something else."""

    def __init__(self, detail, hint=''):
        super().__init__(detail)
        self.detail, self.hint = detail, hint


class Missing(Exception):
    """The part is not written, or cannot be judged before another one works."""


class Unimportable(Exception):
    """A file of theirs that ended or hung the process that imported it; the message says how."""


class Crashed(Exception):
    """The part raised, and it is known which mistake does that."""

    def __init__(self, error, hint=''):
        super().__init__(type(error).__name__)
        self.error, self.hint = error, hint


UNWRITTEN = NotImplementedError  # what a skeleton raises where the student's answer belongs


def is_unwritten(error):
    """Whether it is what skeletons raise: UNWRITTEN, or NameError for `return out` with nothing before it."""
    if not isinstance(error, NameError) or error.__traceback__ is None:
        return isinstance(error, UNWRITTEN)
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    does = [instruction.opname for instruction in dis.get_instructions(frame.f_code)]
    return 'RETURN_VALUE' in does and not any(name.startswith(('STORE', 'CALL', 'BINARY')) for name in does)


@contextlib.contextmanager
def told_by(item, solution):
    """What is Wrong in here has been told by that item if it is wrong: nothing is charged twice."""
    try:
        yield
    except Wrong:
        if solution.verdicts.get(item) != WRONG:
            raise
        raise Missing(f'cannot be judged before {item} is right') from None


def place(error, folder=None):
    """'modules.py:12, `return y @ W`' of the last line in their code that the exception passed, or ''."""
    if isinstance(error, SyntaxError) and error.filename:
        return f'{Path(error.filename).name}:{error.lineno}'
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.resolve().is_relative_to(HERE) or (folder and not path.resolve().is_relative_to(folder)):
            continue
        line = (frame.line or linecache.getline(frame.filename, frame.lineno)).strip()
        return f'{path.name}:{frame.lineno}' + (f', `{line[:80]}`' if line else '')
    return ''


def describe(error, folder=None):
    """A line about an exception in their code: what it is, and where."""
    try:
        text = ' '.join(str(error)[:1000].split())[:200]
    except Exception:  # what cannot even say what it is
        text = ''
    if isinstance(error, ModuleNotFoundError):
        what = f'needs {error.name}, which is neither in the folder nor installed'
    elif isinstance(error, SyntaxError):
        why = ': is it Python 2?' if "call to 'print'" in text else ''
        if (error.text or '').startswith(('<<<<<<<', '=======', '>>>>>>>')):
            why = ': an unfinished merge'
        what = f'{type(error).__name__}: {error.msg}{why}'
    elif isinstance(error, MemoryError) or "can't allocate memory" in text:
        what = 'asks for more memory than it may have'
    elif 'CUDA' in text or 'NVIDIA' in text:
        what = f'needs a GPU, and there is none here: {text}'
    else:
        what = f'{type(error).__name__}: {text}' if text else type(error).__name__
    where = place(error, folder)
    return f'{what} ({where})' if where else what


def judged(item, check, solution):
    """The Result of a check: a function of a solution that returns None or a Note, or raises."""
    shared = Shared()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            note = check(solution)
        replaced = shared.restore()
        result = Result(item, RIGHT, *(note or ()))
    except BaseException as raised:
        replaced = shared.restore()
        result = failed(item, raised, solution)
    if replaced:
        more = f' and {len(replaced) - 1} more' if len(replaced) > 1 else ''
        return Result(item, CRASH, f'replaces {replaced[0]}{more}: what it gives cannot be trusted')
    return result


def failed(item, raised, solution):
    """The Result of a check that raised.

    Whatever their code raises is theirs, SystemExit too; only an interrupt from the keyboard ends the judging.
    """
    if isinstance(raised, KeyboardInterrupt):
        raise raised
    if isinstance(raised, Wrong):
        return Result(item, WRONG, raised.detail, raised.hint)
    if isinstance(raised, Missing):
        return Result(item, MISSING, str(raised))
    if isinstance(raised, Unimportable):
        return Result(item, CRASH, str(raised))
    error, hint = (raised.error, raised.hint) if isinstance(raised, Crashed) else (raised, '')
    if is_unwritten(error):
        return Result(item, MISSING, f'not written yet ({place(error, solution.folder) or type(error).__name__})')
    return Result(item, CRASH, describe(error, solution.folder), hint)
