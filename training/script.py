"""Exit statuses and one-line messages."""

import contextlib
import os
import re
import sys
from pathlib import Path

from cifar10_utils import DataError
from training.errors import Interrupted, RunError, UsageError, is_out_of_memory
from training.folder import has_checkpoint
from training.processes import is_first, let_the_first_speak


def run_script(main, flags):
    """Calls main(flags) and ends the process: status 2 where flags are wrong, 1 where the run fails, in one line."""
    # Either is None if the program was started with it closed.
    sys.stdout = sys.stdout or open(os.devnull, 'w')  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, 'w')  # noqa: SIM115
    with contextlib.suppress(AttributeError):  # a notebook's stream has no encoding to fail in
        sys.stdout.reconfigure(errors='backslashreplace')  # a path may hold what the terminal cannot show
    status, message = 0, ''
    try:
        main(flags)
        sys.stdout.flush()
    except BrokenPipeError:
        status, message = 1, f'whoever read the output has gone{_how_to_go_on(flags)}'
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at the end
    except KeyboardInterrupt:
        status, message = 130, f'interrupted{_how_to_go_on(flags)}'
    except Interrupted as error:
        status = 128 + error.signal
        if is_first():  # all processes end so, and one line is enough
            message = f'{error}{_how_to_go_on(flags)}'
    except Exception as error:
        status, message = _verdict(error, flags)
        if not message:
            raise
    if message:
        print(f'{Path(sys.argv[0]).name}: {message}', file=sys.stderr)
    _leave(status)


def _verdict(error, flags):
    """Exit status and message of what a user can mend; an empty message of what is a mistake in the code."""
    if isinstance(error, UsageError):
        let_the_first_speak()
        return 2, str(error)
    if isinstance(error, UnicodeEncodeError):
        return 1, f'this locale has no letters for {error.object!r}: choose another path or a UTF-8 locale'
    if isinstance(error, PermissionError) and error.filename:
        return 1, f'{error.filename} may not be used ({error.strerror}): change its permissions, or name another'
    if isinstance(error, (RunError, DataError, OSError)):
        return 1, str(error)
    if is_out_of_memory(error):
        return 1, 'out of memory: lower --batch_size or the size of the network'
    if 'WORLD_SIZE' in os.environ and re.search('gloo|NCCL|[Cc]onnection', str(error)):
        return 1, f'another of the processes has gone{_how_to_go_on(flags)}'
    return 1, ''


def _how_to_go_on(flags):
    if getattr(flags, 'resume', None) is None:  # scripts that have no checkpoints
        return ''
    if not has_checkpoint(flags.out_dir):
        return ': there is no checkpoint yet'
    return f': the same command with --resume continues {flags.out_dir} from its last checkpoint'


def _leave(status):
    """Ends this process with the exit status; one of several at once, past the end of Python's own.

    A thread of gloo that still holds the last tensor would abort an interpreter that is ending, and
    DistributedDataParallel keeps such threads alive (pytorch issue 190489). After a failure the group is not taken down
    first: nccl would wait for the other processes, which wait for this one.
    """
    dist = sys.modules.get('torch.distributed')
    if not dist or not dist.is_initialized():
        sys.exit(status)
    if status == 0:
        dist.destroy_process_group()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(status)
