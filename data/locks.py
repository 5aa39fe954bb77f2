"""A lock between processes, where the file system has such a thing."""

import contextlib
import sys
import tempfile
import threading
from pathlib import Path

PROBE = 10  # seconds without an answer, after which a file system counts as one without locks


def has_locks(folder):
    """Whether the file system of a folder gives locks: on Lustre, NFS and FUSE it may refuse, or never answer."""
    try:
        import fcntl
    except ImportError:  # Windows, where there always are
        return True
    file, given = tempfile.TemporaryFile(dir=folder), []  # noqa: SIM115 - the thread closes it, if it ever can

    def probe():
        with file, contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            given.append(True)

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(PROBE)
    return bool(given)


@contextlib.contextmanager
def locked(path, patience=0, waiting=''):
    """Keeps out other processes that lock the same path; where there are no locks, says so and keeps out nobody.

    Args:
        path: of the lock's file, which is made in a folder that is there.
        patience: seconds to wait for another process.
        waiting: what to say before that.

    Raises:
        TimeoutError: another process has it, and keeps it for all that time.
    """
    from filelock import FileLock, Timeout  # torch depends on it

    folder = Path(path).parent
    if not has_locks(folder):  # FileLock would wait for one for ever, or fail, by version
        _say(f'the file system of {folder} has no locks: see to it that no other process writes there')
        yield
        return
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not patience:
            raise
        _say(waiting)
        lock.acquire(timeout=patience)
    try:
        yield
    finally:
        lock.release()


def _say(line):
    print(line, file=sys.stderr, flush=True)
