"""Print a table of finished runs: python experiments/table.py runs/*

Each row gives the figures of the run's last step, never those of its best one. Folders NAME/seedN are one row,
NAME/seed*, with mean and standard deviation over the seeds. Each folder holds the curves of its run, curves.png.
"""

import json
import re
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from training.errors import RunError
from training.flags import ArgumentParser
from training.folder import NOT_COMPUTED_WITH
from training.script import run_script

HEADER = ['run', 'data set', 'test accuracy %', 'test loss', 'steps', 'seconds', 'memory MB', 'seeds']
SEED = r'seed\d+'


def read(run):
    """The flags of a run folder, and the figures of its summary that the table shows.

    Raises:
        RunError: if it holds no finished run.
    """
    try:
        config, summary = (json.loads((run / f'{name}.json').read_text()) for name in ('config', 'summary'))
        figures = [summary[name] for name in ('test_accuracy', 'test_loss', 'step', 'seconds', 'peak_memory_mb')]
        return dict(config['flags']), figures
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f'{run} holds no finished run') from error


def row(runs):
    """The row of a run, or of the seeds of a setting.

    Raises:
        RunError: if one is not finished, or differs from the first in more than its seed.
    """
    flags, figures = zip(*map(read, runs), strict=True)
    for run, other in zip(runs, flags, strict=True):
        differing = {name for name in flags[0].keys() | other.keys() if flags[0].get(name) != other.get(name)}
        if differing := sorted(differing - NOT_COMPUTED_WITH - {'seed'}):
            raise RunError(f'{run} differs from {runs[0]} in --{differing[0]}: no mean is taken over the two')
    accuracy, loss, steps, seconds, memory = zip(*figures, strict=True)
    several = len(runs) > 1 or re.fullmatch(SEED, runs[0].name)
    return [
        str(runs[0].parent / 'seed*' if several else runs[0]),
        flags[0].get('dataset', ''),
        mean_and_deviation([100 * value for value in accuracy], 2),
        mean_and_deviation(loss, 3),
        f'{steps[0]}',
        mean_and_deviation(seconds, 1),
        f'{max(memory)}' if all(memory) else '',
        f'{len(runs)}' if several else '',
    ]


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


def settings(folders):
    """The run folders in lists, those of the seeds of a setting together; a folder of seeds stands for them."""
    found = {}
    for folder in folders:
        folder = folder.expanduser()
        seeds = sorted(run for run in folder.glob('seed*') if re.fullmatch(SEED, run.name) and run.is_dir())
        for run in seeds if seeds and not (folder / 'config.json').exists() else [folder]:
            setting = run.parent if re.fullmatch(SEED, run.name) else run
            runs = found.setdefault(setting.resolve(), [])
            if run not in runs:
                runs.append(run)
    return list(found.values())


def parse_flags(argv=None):
    parser = ArgumentParser(__file__, __doc__)
    parser.add_argument('runs', nargs='+', type=Path, help='run folders, or folders of runs seed1, seed2, ...')
    return parser.parse_args(argv)


def show(flags):
    """Prints the table of the finished runs, then names the other folders."""
    rows, failures = [], []
    for runs in settings(flags.runs):
        try:
            rows.append(row(runs))
        except RunError as error:
            failures.append(str(error))
    if rows:
        print(table([HEADER, *rows]))
    if failures:
        raise RunError('; '.join(failures))


if __name__ == '__main__':
    run_script(show, parse_flags())
