"""Makes each mistake of tests/mistakes.txt in a copy of the repo and names the first test that catches it.

    python tests/make_mistakes.py                              # all
    python tests/make_mistakes.py bessel_variance --jobs 2     # some by name, two at a time

A mistake is one that people make, and that no tool would. The test that the table names is tried first; unittests.py
and tests/ follow, but for the tests of the pages and the report, and for the one of the table, which notices any
change. A test that never ends catches its mistake too, and what is printed says so.

Prints a Markdown table. Exits with 1 if a mistake is not caught or no longer fits the code.
"""

import argparse
import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_name('mistakes.txt')
ROOT = Path(__file__).resolve().parent.parent
ALL_TESTS = ['tests', *(f'--ignore=tests/test_{name}.py' for name in ('docs', 'results', 'report', 'mistakes'))]
SHORT, LONG = 600, 3600  # seconds, far more than one test and all of them take, so that what takes longer hangs


class Mistake(NamedTuple):
    """A row of the table."""

    name: str
    sentence: str
    test: str
    edits: list  # [(file, before, after), ...]

    def fits(self, tree):
        """Whether each edit changes lines that stand in its file exactly once."""
        return all(before != after and len(around(before, tree / file)) == 2 for file, before, after in self.edits)

    def make(self, tree):
        for file, before, after in self.edits:
            (tree / file).write_text(after.join(around(before, tree / file)), encoding='utf-8')


def around(lines, path):
    """What stands in a file around these lines: two parts if they stand there once."""
    return re.split(f'(?m)^{re.escape(lines)}', path.read_text(encoding='utf-8') if path.exists() else '')


def read_table():
    """{name: Mistake} of tests/mistakes.txt, whose first block says how to read it."""
    found = {}
    for block in re.split('\n\n+', TABLE.read_text(encoding='utf-8'))[1:]:
        title, test, *lines = block.splitlines()
        name, sentence = title.split(': ', 1)
        _, *edits = re.split(r'(?m)^in (.+)\n', '\n'.join([*lines, '']))
        edits = [(file, side(' -', diff), side(' +', diff)) for file, diff in zip(edits[::2], edits[1::2], strict=True)]
        found[name] = Mistake(name, sentence, test.removeprefix('caught by '), edits)
    return found


def side(marks, diff):
    """The lines before (' -') or after (' +')."""
    return ''.join(line[1:] for line in diff.splitlines(keepends=True) if line[0] in marks)


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


def first_failure(tree, tests, seconds, environment):
    """The first test that fails, or None if all pass; 'hangs: ...' after so many seconds."""
    options = ['-x', '-q', '-rfE', '-p', 'no:cacheprovider', f'--basetemp={tree.parent / "pytest"}']
    command = [sys.executable, '-m', 'pytest', *options, *tests]
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT, 'errors': 'replace'}
    with subprocess.Popen(command, cwd=tree, env=environment, start_new_session=True, **pipes) as process:
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
    name = r'(?:unittests|(?:tests|report)/[\w/]+)\.py(?:::.+?)?'
    found = re.search(rf'^(?:SUBFAILED|FAILED|ERROR)\b.*?({name})(?: - .*)?$', output, re.MULTILINE)
    return found[1] if found else tests[0]


def judge(mistake, environment):
    """What catches the mistake, or why nothing does; and whether it is caught."""
    with copied_tree() as tree:
        if not mistake.fits(tree):
            return 'it no longer fits the code', False
        mistake.make(tree)
        for tests, seconds in (([mistake.test], SHORT), (['unittests.py'], LONG), (ALL_TESTS, LONG)):
            if failure := first_failure(tree, tests, seconds, environment):
                return f'`{failure}`', True
    return 'no test', False


def check_installed(package):
    """Ends the program with one line if a package is missing that only developers have."""
    if importlib.util.find_spec(package) is None:
        sys.exit(f'{Path(sys.argv[0]).name} needs {package}, which is missing: pip install -r requirements-dev.txt')


def check_unchanged(mistakes, environment):
    """Ends the program with one line if a named test fails without any mistake, or does not exist."""
    with copied_tree() as tree:
        tests = sorted({mistake.test for mistake in mistakes})
        if failure := first_failure(tree, tests, LONG, environment):
            sys.exit(f'make_mistakes.py: {failure} fails or does not exist, without any mistake')


def main():
    known = read_table()
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('names', nargs='*', metavar='NAME', help='mistakes (default: all)')
    parser.add_argument('--jobs', type=int, default=1, help='mistakes tried at once (default: 1)')
    flags = parser.parse_args()
    if unknown := set(flags.names) - known.keys():
        parser.error(f'no such mistake: {", ".join(sorted(unknown))}')
    check_installed('hypothesis')  # for the tests
    mistakes = [known[name] for name in flags.names or known]
    environment = os.environ | ({'OMP_NUM_THREADS': '1'} if flags.jobs > 1 else {})
    check_unchanged(mistakes, environment)
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
