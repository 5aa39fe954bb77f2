"""Makes each of these mistakes in a copy of the repo and names the first test that catches it.

    python tests/mistakes/run.py                              # all
    python tests/mistakes/run.py bessel_variance --jobs 2     # some by name, two at a time

A mistake is a patch in this folder: one that people make, and that no tool would. Its first line says it in a sentence.
A second line may name a test, `Caught by: tests/test_x.py::test_y`, which is tried first; unittests.py and tests/
follow, but for the tests of README and report. A test that never ends catches its mistake too, and the table says so.

Prints a Markdown table. Exits with 1 if a mistake is not caught or its patch does not apply.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
ALL_TESTS = ['tests', '--ignore=tests/test_readme.py', '--ignore=tests/test_report.py']
ONE_TEST_SECONDS, ALL_TESTS_SECONDS = 600, 3600  # far more than they take, so that what takes longer hangs


class Mistake:
    """A patch: its path, the sentence that says the mistake, and the test that is expected to catch it, or None."""

    def __init__(self, path):
        self.path = path
        self.sentence, second, *_ = path.read_text(encoding='utf-8').splitlines()
        self.test = second.removeprefix('Caught by: ') if second.startswith('Caught by: ') else None


@contextlib.contextmanager
def copied_tree():
    """A copy of what git tracks, or would track, as it is now, in a folder that is deleted afterwards."""
    command = ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard']
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split('\0')
    with tempfile.TemporaryDirectory(prefix='mistake.', ignore_cleanup_errors=True) as folder:
        tree = Path(folder) / 'tree'
        for name in names:
            if (ROOT / name).is_file():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, tree / name)
        yield tree


def applies(patch, tree):
    """Whether the patch could be applied to the tree, which it is then."""
    elsewhere = os.environ | {'GIT_CEILING_DIRECTORIES': str(tree.parent)}  # in a repo, git would take its own folders
    return subprocess.run(['git', 'apply', patch], cwd=tree, env=elsewhere, capture_output=True).returncode == 0


def first_failure(tree, tests, seconds, environment):
    """The first test that fails, or None if all pass; 'hangs: ...' after so many seconds."""
    options = ['-x', '-q', '-rfE', '-p', 'no:cacheprovider', f'--basetemp={tree.parent / "pytest"}']
    with subprocess.Popen(
        [sys.executable, '-m', 'pytest', *options, *tests],
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors='replace',
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return f'hangs: {tests[0]}'
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # pytest, and whatever its tests have started
    if process.returncode == 0:
        return None
    # FAILED tests/test_x.py::test_y[z] - why, SUBFAILED(i=1) unittests.py::TestX::test_y - why, ERROR tests/test_x.py
    name = r'(?:unittests|tests/\w+)\.py(?:::.+?)?'
    found = re.search(rf'^(?:SUBFAILED|FAILED|ERROR)\b.*?({name})(?: - .*)?$', output, re.MULTILINE)
    return found[1] if found else tests[0]


def judge(mistake, environment):
    """What catches the mistake, or why nothing does; and whether it is caught."""
    with copied_tree() as tree:
        if not applies(mistake.path, tree):
            return 'the patch does not apply', False
        attempts = [([mistake.test], ONE_TEST_SECONDS)] if mistake.test else []
        for tests, seconds in [*attempts, (['unittests.py'], ALL_TESTS_SECONDS), (ALL_TESTS, ALL_TESTS_SECONDS)]:
            if failure := first_failure(tree, tests, seconds, environment):
                return f'`{failure}`', True
    return 'no test', False


def check_unpatched(mistakes, environment):
    """Ends the program with one line if a named test fails without any mistake, or does not exist."""
    tests = sorted({mistake.test for mistake in mistakes} - {None})
    if tests:
        with copied_tree() as tree:
            if failure := first_failure(tree, tests, ALL_TESTS_SECONDS, environment):
                sys.exit(f'run.py: {failure} fails or does not exist, without any mistake')


def main():
    known = {path.stem: path for path in sorted(FOLDER.glob('*.patch'))}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('names', nargs='*', metavar='NAME', help='patches without their suffix (default: all)')
    parser.add_argument('--jobs', type=int, default=1, help='mistakes tried at once (default: 1)')
    flags = parser.parse_args()
    if unknown := set(flags.names) - known.keys():
        parser.error(f'no such mistake: {", ".join(sorted(unknown))}')

    mistakes = [Mistake(known[name]) for name in flags.names or known]
    environment = os.environ | ({'OMP_NUM_THREADS': '1'} if flags.jobs > 1 else {})
    check_unpatched(mistakes, environment)

    caught = 0
    print('| mistake | first test that caught it |\n| --- | --- |')
    with ThreadPoolExecutor(flags.jobs) as pool:
        verdicts = pool.map(lambda mistake: judge(mistake, environment), mistakes)
        for mistake, (answer, is_caught) in zip(mistakes, verdicts, strict=True):
            print(f'| {mistake.sentence} | {answer} |', flush=True)
            caught += is_caught
    print(f'\n{caught} of {len(mistakes)} mistakes are caught')
    sys.exit(caught < len(mistakes))


if __name__ == '__main__':
    main()
