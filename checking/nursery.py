"""The process that runs solutions: started by processes.py as `python nursery.py FD`, FD a socket.

A job that comes through the socket, JSON with a file descriptor for its events, is judged by a child of this process,
forked with NumPy and PyTorch already imported, which saves each job a second. When the child has ended, or has been
told to by a line that says stop, whatever it has started is ended too, and its exit code is sent back.

A line of JSON for each event goes to the job's descriptor: {"ready": true}, {"import": file or null},
{"result": [index, verdict, detail, hint]}, {"failed": why}. Whatever the solution prints or redefines, that is not it.
"""

import contextlib
import ctypes
import importlib.util
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

CAN_FORK = sys.platform == 'linux'  # elsewhere a forked NumPy may hang
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
STOP = b's'


def limit(kind, value):
    """Lowers a limit of the system's where it has it."""
    _, hard = resource.getrlimit(kind)
    wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS knows the limit of data and refuses it
        resource.setrlimit(kind, (wanted, hard))


def addressed():
    """Bytes of this process's address space, of which a part is used; on Linux alone."""
    try:
        return int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 2**40


def package():
    """The package of this file under a name that no solution has; its folder is on nobody's path."""
    folder = Path(__file__).resolve().parent
    where = [str(folder)]
    spec = importlib.util.spec_from_file_location('_checking', folder / '__init__.py', submodule_search_locations=where)
    sys.modules['_checking'] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules['_checking'])


def warm(job):
    """Imports what judges this job; PyTorch only where it is needed."""
    if '_checking' not in sys.modules:
        package()
        importlib.import_module('_checking.solution').revive_old_names()
    checks = [importlib.import_module('_checking.items').CHECKS[index] for index in job['pending']]
    if any(check.is_torch for check in checks):
        import torch

        torch.set_num_threads(1)
    for check in checks:
        importlib.import_module(f'_checking.{check.room}')


def mute_plots():
    """Lets matplotlib draw on no screen, whatever a file in this folder asks it for."""
    if any(b'matplotlib' in path.read_bytes() for path in Path().glob('*.py')):
        with contextlib.suppress(ImportError):
            import matplotlib

            matplotlib.use = lambda *_, **__: None


def judge(job, channel):
    """Judges in this process, which it ends; threads and exit handlers of the solution's are not waited for."""
    write, dumps = os.write, json.dumps

    def send(**message):
        write(channel, (dumps(message) + '\n').encode())

    try:
        try:
            warm(job)
        except Exception as error:
            send(failed=f'{type(error).__name__}: {error}')
            raise
        items, solutions = sys.modules['_checking.items'], sys.modules['_checking.solution']
        limit(resource.RLIMIT_CORE, 0)
        limit(resource.RLIMIT_FSIZE, 2**28)
        limit(resource.RLIMIT_DATA, job['memory'])
        limit(resource.RLIMIT_AS, job['memory'] + addressed())  # for memory that is shared with others
        if CAN_FORK:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.chdir(job['folder'])
        sys.argv[:] = ['check_solution.py']  # a solution that parses flags at its import finds none
        mute_plots()
        solutions.prefer(job['folder'])
        on_import = lambda name: send(**{'import': name})  # noqa: E731
        solution = solutions.Solution(job['folder'], broken=job['broken'], on_import=on_import)
        send(ready=True)
        verdicts = job['verdicts']
        for index in job['pending']:
            result = items.judge_one(index, solution, verdicts)
            verdicts[result.item] = result.verdict
            send(result=[index, result.verdict, result.detail[:1000], result.hint[:1000]])
        os._exit(0)
    finally:
        os._exit(1)


def start(job, channel, control):
    """The process id of a child that judges, in a session of its own."""
    if not CAN_FORK:
        arguments = [sys.executable, '-W', 'ignore', __file__, str(channel), json.dumps(job)]
        return subprocess.Popen(arguments, pass_fds=[channel], start_new_session=True).pid
    with contextlib.suppress(Exception):  # the child will say why not
        warm(job)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        control.close()
        judge(job, channel)
    return pid


def watch(pid, control):
    """The exit code of the child when it has ended; None once it is to be stopped, or nobody is there any more."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if select.select([control], [], [], 0.02)[0]:
            control.recv(1)
            return None


def children():
    """The process ids of our children: on Linux, orphans of theirs become ours."""
    for path in Path('/proc').glob('[0-9]*/stat'):
        with contextlib.suppress(OSError):
            pid, _, rest = path.read_text(errors='replace').partition(' ')
            if int(rest.rpartition(')')[2].split()[1]) == os.getpid():
                yield int(pid)


def end_all(pid):
    """Ends the child, its session and whatever else has come of it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        for child in children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        time.sleep(0.001)


def main():
    sys.path.pop(0)  # of this file
    if len(sys.argv) > 2:
        judge(json.loads(sys.argv[2]), int(sys.argv[1]))
    if CAN_FORK:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    control = socket.socket(fileno=int(sys.argv[1]))
    while True:
        text, descriptors, *_ = socket.recv_fds(control, 2**18, 1)
        if not text:
            return
        if not descriptors:
            continue  # a stop that came too late
        (channel,) = descriptors
        pid = start(json.loads(text.lstrip(STOP)), channel, control)
        os.close(channel)
        code = watch(pid, control)
        end_all(pid)
        control.sendall(json.dumps(code).encode() + b'\n')


if __name__ == '__main__':
    main()
