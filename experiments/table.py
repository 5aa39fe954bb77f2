"""Print a table of finished runs: python experiments/table.py runs/*

Each row gives the figures of the run's last step, never those of its best one.
"""

import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from training.errors import RunError
from training.flags import ArgumentParser
from training.script import run_script


def row(run):
    """A run folder's row of the table.

    Raises:
        RunError: if it holds no finished run.
    """
    try:
        summary = json.loads((run / 'summary.json').read_text())
        config = json.loads((run / 'config.json').read_text())
    except (OSError, ValueError) as error:
        raise RunError(f'{run} holds no finished run') from error
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


def mean_and_deviation(values, digits):
    """'mean ± deviation', or the value alone if there is just one."""
    deviation = f' ± {statistics.stdev(values):.{digits}f}' if len(values) > 1 else ''
    return f'{statistics.mean(values):.{digits}f}{deviation}'


def table(rows):
    """Rows of strings as a Markdown table, which a terminal shows well too: one long cell does not widen every row."""
    widths = [min(60, max(len(line[i]) for line in rows)) for i in range(len(rows[0]))]
    lines = ['| ' + ' | '.join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + ' |' for line in rows]
    lines.insert(1, '|' + '|'.join('-' * (w + 2) for w in widths) + '|')
    return '\n'.join(lines)


def parse_flags():
    parser = ArgumentParser(__file__, __doc__)
    parser.add_argument('runs', nargs='+', type=Path, help='run folders')
    return parser.parse_args()


def show(flags):
    """Prints the table of the finished runs, then names the other folders."""
    rows, failures = [], []
    for run in flags.runs:
        try:
            rows.append(row(run))
        except RunError as error:
            failures.append(str(error))
    if rows:
        print(table([HEADER, *rows]))
    if failures:
        raise RunError('; '.join(failures))


if __name__ == '__main__':
    run_script(show, parse_flags())
