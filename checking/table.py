"""What is printed and written: the table of a folder, the row of a class, CSV and JSON."""

import csv
import io
import json
import os
import textwrap
from collections import Counter

from .guide import where_to_read
from .items import NAMES
from .verdicts import CRASH, MISSING, RIGHT, WRONG

WIDTH = 100
COLOURS = {RIGHT: '32', WRONG: '31', CRASH: '35', MISSING: '33'}
ITEM_WIDTH, VERDICT_WIDTH = max(map(len, NAMES)) + 1, 8


def plain(text, length=400):
    """Text from a solution's process without what a terminal would obey."""
    text = ''.join(character if character.isprintable() else ' ' for character in text)
    return text if len(text) <= length else text[: length - 1] + '…'


def coloured(text, verdict, stream):
    if not stream.isatty() or 'NO_COLOR' in os.environ or os.environ.get('TERM') == 'dumb':
        return text
    return f'\033[{COLOURS[verdict]}m{text}\033[0m'


def first_to_mend(results):
    """The first Result that is wrong or crashes, else the first that is missing, or None."""
    bad = [r for r in results if r.verdict in (WRONG, CRASH)] or [r for r in results if r.verdict == MISSING]
    return bad[0] if bad else None


def counted(results):
    """'21 right, 2 wrong, 1 missing'."""
    counts = Counter(result.verdict for result in results)
    return ', '.join(f'{counts[v]} {v}' for v in (RIGHT, WRONG, CRASH, MISSING) if counts[v])


def print_table(results, stream):
    """A line per item, then what to mend first and where it is derived."""
    margin = ' ' * (ITEM_WIDTH + VERDICT_WIDTH)
    for result in results:
        text = plain('; '.join(part for part in (result.detail, result.hint) if part))
        lines = textwrap.wrap(text, WIDTH - len(margin), break_on_hyphens=False) or ['']
        verdict = result.verdict.ljust(VERDICT_WIDTH) if text else result.verdict
        print(result.item.ljust(ITEM_WIDTH) + coloured(verdict, result.verdict, stream), end='', file=stream)
        print(f'\n{margin}'.join(lines), file=stream)
    print(f'\n{counted(results)}.', file=stream)
    if first := first_to_mend(results):
        hint = plain(first.hint) or 'look at what it raises' * (first.verdict == CRASH)
        text = f'Begin with {first.item}' + (f': {hint}' if hint else '')
        text += ('' if text.endswith('?') else '.') + f' {where_to_read(first.item)}'
        print('\n'.join(textwrap.wrap(text, WIDTH, break_on_hyphens=False)), file=stream)


def print_row(folder, results, width, stream):
    """A folder of a class in a line: what is right, and what to mend first."""
    first = first_to_mend(results)
    verdict = first.verdict if first else RIGHT
    name = plain(folder)[-width:].ljust(width)
    counts = f'{sum(r.verdict == RIGHT for r in results)}/{len(results)} right'.ljust(13)
    text = f'{first.item}: {first.verdict}; {plain(first.hint or first.detail)}' if first else ''
    room = max(WIDTH - width - 15, 20)
    text = text if len(text) <= room else text[: room - 1] + '…'
    print(f'{name}  {coloured(counts, verdict, stream)}{text}'.rstrip(), file=stream)


def as_csv(judged):
    """A row per folder of {folder: Results}: how many items are right, of how many, then the verdict of each."""
    names = [name for name in NAMES if any(r.item == name for results in judged.values() for r in results)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['folder', 'right', 'items', *names, 'first_to_mend'])
    for folder, results in judged.items():
        verdicts = {r.item: r.verdict for r in results}
        first = first_to_mend(results)
        right = sum(v == RIGHT for v in verdicts.values())
        writer.writerow(
            [_cell(folder), right, len(results), *(verdicts.get(n, '') for n in names), first.item if first else '']
        )
    return text.getvalue()


def _cell(text):
    """A folder's name in a form that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in '=+-@' else text


def as_json(judged):
    """A list of objects with item, verdict, detail and hint; with the folder too where there are several."""
    rows = []
    for folder, results in judged.items():
        where = {'folder': folder} if len(judged) > 1 else {}
        rows += [where | result._asdict() for result in results]
    return json.dumps(rows, indent=2, ensure_ascii=False) + '\n'
