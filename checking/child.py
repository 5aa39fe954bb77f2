"""The process that runs a solution: `python child.py FD JOB`, started by sandbox.py in the solution's folder.

A line of JSON for each event goes to the file descriptor FD: {"ready": true}, {"import": file or null},
{"result": [index, verdict, detail, hint]}, {"failed": why}.
Whatever the solution prints, closes or redefines, that is not it.
"""

import contextlib
import importlib.util
import json
import os
import resource
import sys
from pathlib import Path


def limit(kind, value):
    """Lowers a limit of the system's where it has it."""
    _, hard = resource.getrlimit(kind)
    wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS knows the limit of data and refuses it
        resource.setrlimit(kind, (wanted, hard))


def package():
    """The package of this file under a name that no solution has; its folder is on nobody's path."""
    folder = Path(__file__).resolve().parent
    where = [str(folder)]
    spec = importlib.util.spec_from_file_location('_checking', folder / '__init__.py', submodule_search_locations=where)
    sys.modules['_checking'] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules['_checking'])


def prepare(job):
    """Sets the limits and imports what judges; then the solution's folder is first on the path."""
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_FSIZE, 2**28)
    limit(resource.RLIMIT_DATA, job['memory'])
    sys.path.pop(0)  # of this file
    sys.argv[:] = ['check_solution.py']  # a solution that parses flags at its import finds none
    package()
    items = importlib.import_module('_checking.items')
    solutions = importlib.import_module('_checking.solution')
    solutions.revive_old_names()
    if any(items.CHECKS[index].is_torch for index in job['pending']):
        import torch

        torch.set_num_threads(1)
        importlib.import_module('_checking.convnet')
    solutions.prefer(job['folder'])
    return items, solutions


def main():
    channel, job = int(sys.argv[1]), json.loads(sys.argv[2])
    os.set_inheritable(channel, False)
    write, dumps = os.write, json.dumps

    def send(**message):
        write(channel, (dumps(message) + '\n').encode())

    try:
        items, solutions = prepare(job)
    except Exception as error:
        send(failed=f'{type(error).__name__}: {error}')
        raise
    solution = solutions.Solution(job['folder'], broken=job['broken'], on_import=lambda name: send(**{'import': name}))
    send(ready=True)
    verdicts = job['verdicts']
    for index in job['pending']:
        result = items.judge_one(index, solution, verdicts)
        verdicts[result.item] = result.verdict
        send(result=[index, result.verdict, result.detail[:1000], result.hint[:1000]])
    os._exit(0)  # threads and exit handlers of the solution's are not waited for


if __name__ == '__main__':
    main()
