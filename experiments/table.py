"""Print a table of finished runs: python experiments/table.py runs/*

Each row gives the figures of the run's last step, never those of its best one.
"""

import argparse
import json
import sys
from pathlib import Path


def row(run):
    """A run folder's row of the table, or None if the run has not finished."""
    if not (run / 'summary.json').exists():
        return None
    summary = json.loads((run / 'summary.json').read_text())
    config = json.loads((run / 'config.json').read_text())
    return [
        run.name,
        config['flags']['dataset'],
        f'{100 * summary["test_accuracy"]:.2f}',
        f'{summary["test_loss"]:.3f}',
        f'{summary["step"]}',
        f'{summary["seconds"]:.1f}',
        f'{summary["peak_memory_mb"]}',
        str(run / 'curves.png'),
    ]


HEADER = ['run', 'data set', 'test accuracy %', 'test loss', 'steps', 'seconds', 'memory MB', 'curves']


def table(rows):
    """Rows of strings as a Markdown table, which a terminal shows well too: one long cell does not widen every row."""
    widths = [min(60, max(len(line[i]) for line in rows)) for i in range(len(rows[0]))]
    lines = ['| ' + ' | '.join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + ' |' for line in rows]
    lines.insert(1, '|' + '|'.join('-' * (w + 2) for w in widths) + '|')
    return '\n'.join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('runs', nargs='+', type=Path, help='run folders')
    rows = [r for r in map(row, parser.parse_args().runs) if r]
    if not rows:
        sys.exit('table.py: none of these folders holds a finished run')
    print(table([HEADER, *rows]))


if __name__ == '__main__':
    main()
