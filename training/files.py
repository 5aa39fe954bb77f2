"""Writing so that nothing half written is left, reading so that nothing runs."""

import contextlib
import json
import os
import zipfile
from pathlib import Path

from cifar10_utils import DataError
from training.errors import RunError, UsageError, is_out_of_memory


def write_atomically(path, data, previous=None):
    """Writes bytes so that, whatever happens, path holds either its old content or all of the new.

    With `previous`, the old content is kept under that name; between two instants it is there alone.

    Raises:
        RunError: if the system refuses; what was there before is kept.
    """
    path = Path(path)
    part = path.with_name(path.name + '.part')
    try:
        with open(part, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if previous and path.exists():
            os.replace(path, previous)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise RunError(f'cannot write {path}: {error.strerror}; what was there before is kept') from error


def write_json(path, value):
    write_atomically(path, (json.dumps(value, indent=2) + '\n').encode())


@contextlib.contextmanager
def reading(path, fault='is damaged, or no checkpoint of this network; --overwrite starts again'):
    """Turns whatever is wrong with a checkpoint that is read into a RunError of one line."""
    try:
        yield
    except (DataError, RunError, UsageError, PermissionError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise RunError(f'{path} {fault}') from error


def checked_archive(path):
    """The path of a zip file that is whole and unpacks to no more than its own size, as checkpoints do.

    Raises:
        ValueError: if it does not, or another exception if it is no zip file.
    """
    with zipfile.ZipFile(path) as archive:
        if sum(part.file_size for part in archive.infolist()) > os.path.getsize(path):
            raise ValueError('it unpacks to more than its size')
        if archive.testzip():
            raise ValueError('wrong checksum')
    return path
