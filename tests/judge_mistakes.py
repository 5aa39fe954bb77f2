"""Judges what check_solution.py says of mistakes: blamed rightly, with a hint, and what it accuses besides.

    python tests/judge_mistakes.py

Each mistake kept in tests/ that touches a file of the assignment is made in a copy of this repo's files, and others in
tests/solutions/students, written in another style. Prints a Markdown table and the figures; exits with 1 if a mistake
is not blamed or something else is.
"""

import argparse
import sys
import types
from pathlib import Path

from make_mistakes import read_table

ROOT = Path(__file__).resolve().parent.parent
STUDENTS = ROOT / 'tests' / 'solutions' / 'students'
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]
from solutions import mistakes  # noqa: E402

from checking.items import judge  # noqa: E402
from checking.solution import FILES, Solution  # noqa: E402


def texts(folder):
    return {f'{name}.py': (folder / f'{name}.py').read_text(encoding='utf-8') for name in FILES}


def kept_mistakes():
    """Each mistake of tests/mistakes.txt in a file of the assignment, as (name, {file: text}) of what it changes."""
    ours = texts(ROOT)
    for name, mistake in read_table().items():
        changed = {}
        for file, before, after in mistake.edits:
            if file in ours:
                text = changed.get(file, (ROOT / file).read_text(encoding='utf-8'))
                changed[file] = f'\n{text}'.replace(f'\n{before}', f'\n{after}')[1:]
        if changed:
            yield name, changed


def students_mistakes():
    """(name, {file: text with the mistake}) of each mistake in the second style."""
    original = texts(STUDENTS)
    for name, (file, old, new, *_) in mistakes.STUDENTS.items():
        if original[file].count(old) < 1 or old == new:
            raise ValueError(f'{name}: {file} does not hold {old!r}')
        yield name, {file: original[file].replace(old, new, 1)}


def solution(folder, changed=None):
    """The files of a folder as a Solution in this process, with some texts exchanged; nothing stays imported."""
    before = {name: sys.modules.get(name) for name in FILES}
    modules = {}
    try:
        for name in FILES:
            modules[name] = sys.modules[name] = types.ModuleType(name)
        for name in ('modules', 'mlp_numpy', 'custom_batchnorm', 'mlp_pytorch', 'convnet_pytorch'):
            text = (texts(folder) | (changed or {}))[f'{name}.py']
            exec(compile(text, str(folder / f'{name}.py'), 'exec'), vars(modules[name]))
    finally:
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module
    return Solution(modules=modules)


def judged(folder, changed):
    """{item: Result} of what is blamed: wrong, or a crash."""
    return {r.item: r for r in judge(solution(folder, changed)) if r.verdict in ('wrong', 'crash')}


def main():
    argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0]).parse_args()
    figures = []
    print('| style | mistake | blamed | hint |\n| --- | --- | --- | --- |')
    for style, folder, made in [('ours', ROOT, kept_mistakes()), ('students', STUDENTS, students_mistakes())]:
        for name, changed in made:
            expected = mistakes.KEPT.get(name) if style == 'ours' else mistakes.STUDENTS[name][3]
            found = judged(folder, changed)
            hint = found[expected].hint if expected in found else ''
            blamed = ', '.join(found) or '–'
            if expected is None:
                print(f'| {style} | {name} | {blamed}: {mistakes.OPEN[name]} | |')
                figures.append((True, None, len(found)))
                continue
            print(f'| {style} | {name} | {blamed} | {hint} |', flush=True)
            figures.append((expected in found, bool(hint), len(found.keys() - {expected})))
    to_blame = [f for f in figures if f[1] is not None]
    blamed, hinted, accused = sum(f[0] for f in to_blame), sum(f[1] for f in to_blame), sum(f[2] for f in figures)
    print(
        f'\n{len(figures)} mistakes, {len(to_blame)} of them against the contract: {blamed} blamed rightly '
        f'({100 * blamed / len(to_blame):.0f} %), {hinted} with a hint ({100 * hinted / len(to_blame):.0f} %), '
        f'{accused} items accused falsely'
    )
    sys.exit(blamed < len(to_blame) or accused > 0)


if __name__ == '__main__':
    main()
