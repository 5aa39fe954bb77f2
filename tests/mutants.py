"""Changes the code piece by piece and asks whether the tests notice: mutation testing.

    python tests/mutants.py                          # all
    python tests/mutants.py modules.py --jobs 2      # some files, two mutants at a time
    python tests/mutants.py --usual                  # what the usual public check of this assignment would notice

mutmut makes mutants of a copy of the repo: in each, one operator, number, text or argument is another, and the tests
that reach the place run: unittests.py for the gradients, and the test files about the rest that a file promises. What
never ends is noticed, too.

A mutant that survives is explained in mutants.txt, which says why it changes nothing that a user relies on.

Prints a Markdown table, each survivor that nobody has explained with its diff, and explanations that fit none. Exits
with 1 if less than 95% of a group of files are killed, or if a survivor is unexplained.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from make_mistakes import check_installed, copied_tree

# A group of files, and the tests that have to kill its mutants.
GROUPS = (
    (
        ['modules.py', 'mlp_numpy.py', 'custom_batchnorm.py'],
        ['unittests.py', 'tests/test_modules.py', 'tests/test_custom_batchnorm.py'],
    ),
    (
        ['gradient_check.py', 'mlp_pytorch.py', 'convnet_pytorch.py'],
        [
            'unittests.py',
            'tests/test_gradient_check.py',
            'tests/test_modules.py',
            'tests/test_convnet.py',
        ],
    ),
    (
        ['cifar10_utils.py', 'data/cifar10.py', 'data/unpickle.py', 'data/download.py'],
        ['tests/test_data.py', 'tests/test_download.py'],
    ),
)
REQUIRED = 95  # per cent
# How the tests of a mutant ended: as pytest says, or 33 where no test reaches it. 255 is that pytest would not start,
# as with a test that it does not find again for a backslash in its name; mutmut calls that a timeout.
SURVIVED, NOT_TESTED = {0, 5, 33}, {None, 2, 255}
EXPLANATIONS = Path(__file__).with_name('mutants.txt')
MUTMUT = Path(sys.executable).with_name('mutmut')


def read_explanations():
    """Reasons by (file, function, line before, line after)."""
    reasons = {}
    for block in EXPLANATIONS.read_text(encoding='utf-8').strip().split('\n\n')[1:]:  # the first one says how to read
        head, *changes, reason = block.splitlines()
        for line in changes:
            if line.startswith('-'):
                before = line[1:].strip()
            else:
                reasons[(*head.split(' '), before, line[1:].strip())] = reason
    return reasons


def configure(tree, files, tests):
    """Writes mutmut's configuration: here and not in pyproject.toml, as each group has its own tests."""
    others = sorted(path.name for path in tree.iterdir() if path.name not in files)

    def listed(values):
        return ''.join(f'\n    {value}' for value in values)

    # Torch's threads do not survive a plain fork. Torchvision, which a download needs, takes seconds to import: once is
    # enough for a thousand processes. torch.compile cannot follow what mutmut puts in a function's place. On a busy
    # machine pytest alone takes the second that is allowed by default; what hangs is given up after five times, and not
    # fifteen times, as long as it should have taken.
    (tree / 'setup.cfg').write_text(
        f"""[mutmut]
source_paths ={listed(files)}
also_copy ={listed(others)}
pytest_add_cli_args_test_selection ={listed(tests)}
pytest_add_cli_args =
    -ptorchvision.datasets.utils
    --deselect=tests/test_custom_batchnorm.py::test_compile
process_isolation = forkserver
timeout_constant = 4
timeout_multiplier = 5
""",
        encoding='utf-8',
    )


def mutmut(tree, *args, **kwargs):
    environment = os.environ | {'OMP_NUM_THREADS': '1'}
    return subprocess.run([MUTMUT, *args], cwd=tree, env=environment, check=True, text=True, **kwargs).stdout


def key_of(tree, name):
    """(file, function, line before, line after) of a mutant, and its diff without context."""
    # module.x_function__mutmut_1, package.module.xǁClassǁmethod__mutmut_1
    module, owner, function = re.fullmatch(r'([\w.]+?)\.x(?:ǁ(\w+?)ǁ|_)(\w+)__mutmut_\d+', name).groups()
    shown = mutmut(tree, 'show', name, stdout=subprocess.PIPE).splitlines()
    lines = [line for line in shown if re.match(r'-(?!--)|\+(?!\+\+)', line)]
    before, after = (' '.join(line[1:].strip() for line in lines if line[0] == sign) for sign in '-+')
    file, place = f'{module.replace(".", "/")}.py', f'{owner}.{function}' if owner else function
    return (file, place, before, after), '\n'.join(lines)


def run(files, tests, jobs):
    """How many mutants each file has, and the keys and diffs of those that survive."""
    with copied_tree() as tree:
        configure(tree, files, tests)
        try:
            mutmut(tree, 'run', '--max-children', str(jobs), stdout=sys.stderr)
        except subprocess.CalledProcessError:
            sys.exit(f'mutants.py: mutmut gave up; do {" ".join(tests)} pass without a mutant?')
        ends, total = {}, {}
        for file in files:
            meta = json.loads((tree / 'mutants' / f'{file}.meta').read_text(encoding='utf-8'))
            ends |= meta['exit_code_by_key']
            total[file] = len(meta['exit_code_by_key'])
        if left := [name for name, end in ends.items() if end in NOT_TESTED]:
            sys.exit(f'mutants.py: mutmut could not test {", ".join(left)}')
        return total, [key_of(tree, name) for name, end in ends.items() if end in SURVIVED]


def main():
    known = [file for files, _ in GROUPS for file in files]
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('files', nargs='*', metavar='FILE', help=f'some of {", ".join(known)} (default: all)')
    parser.add_argument('--jobs', type=int, default=1, help='mutants tried at once (default: 1)')
    parser.add_argument('--usual', action='store_true', help='the first group by tests/usual_check.py, a table only')
    flags = parser.parse_args()
    if unknown := set(flags.files) - set(known):
        parser.error(f'no mutants are made of {", ".join(sorted(unknown))}')
    check_installed('mutmut')

    groups = [(GROUPS[0][0], ['tests/usual_check.py'])] if flags.usual else GROUPS
    reasons = {} if flags.usual else read_explanations()
    stale = {key for key in reasons if key[0] in (flags.files or known)}
    unexplained, failed = [], False
    print('| file | mutants | killed | killed % | explained |\n| --- | ---: | ---: | ---: | ---: |')
    for group, tests in groups:
        files = [file for file in group if file in (flags.files or known)]
        if not files:
            continue
        total, survivors = run(files, tests, flags.jobs)
        stale -= {key for key, _ in survivors}
        unexplained += [(key, diff) for key, diff in survivors if key not in reasons]
        for file in files:
            lived = [key for key, _ in survivors if key[0] == file]
            explained, killed = sum(key in reasons for key in lived), total[file] - len(lived)
            print(f'| {file} | {total[file]} | {killed} | {100 * killed / total[file]:.1f} | {explained} |', flush=True)
        if files == group:  # a part of it may be small, so that two survivors are 5%
            failed |= 100 * len(survivors) > (100 - REQUIRED) * sum(total.values())

    if flags.usual:
        return
    for (file, function, *_), diff in unexplained:
        print(f'\n{file} {function}\n{diff}')
    for file, function, before, after in sorted(stale):
        print(f'\nexplained, but killed or gone: {file} {function}\n- {before}\n+ {after}')
    print(f'\n{len(unexplained)} survivors are unexplained')
    sys.exit(failed or bool(unexplained))


if __name__ == '__main__':
    main()
