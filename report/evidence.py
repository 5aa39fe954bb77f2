"""What results/ hold, as the report shows it; MissingResult names what is not there."""

import csv

import numpy as np
import published


class MissingResult(Exception):
    """A run or a figure of it is not in results/."""


def runs(name):
    """The (config, summary, history) of each seed of results/NAME."""
    try:
        found = published.runs(name)
    except FileNotFoundError as error:
        raise MissingResult(f'{error.filename} is missing: repeat that run, or take its folder away') from error
    if not found:
        raise MissingResult(f'results/{name} is missing: run python experiments/ladder.py {name}')
    return found


def summaries(name):
    """The summary of each seed."""
    return [summary for _, summary, _ in runs(name)]


def percents(name, key):
    """A share in the summary of each seed, in percent."""
    return [100 * summary[key] for summary in summaries(name)]


def flags_of(name):
    """The flags of the first seed."""
    return runs(name)[0][0]['flags']


def column(name, key):
    """Steps, and an array (seeds, evaluations) of one column of the history."""
    histories = [history for _, _, history in runs(name)]
    if key not in histories[0][0]:
        raise MissingResult(f'results/{name} has no {key} in its history')
    steps = [int(row['step']) for row in histories[0]]
    return steps, np.array([[row[key] for row in history] for history in histories])


def twin_gap():
    """Steps, and |L_NumPy − L_PyTorch| / L_NumPy of the training loss, (seeds, evaluations)."""
    steps, ours = column('mlp_numpy', 'train_loss')
    _, theirs = column('mlp_pytorch', 'train_loss')
    return steps, np.abs(ours - theirs) / ours


def confusion(name):
    """Names of the classes, the test images by seed, true and predicted class, (seeds, 10, 10), and their shares.

    The shares are of all seeds and of each true class, (10, 10).
    """
    counts = []
    for run in sorted((published.ROOT / 'results' / name).glob('seed*')):
        if not (run / 'confusion.csv').exists():
            raise MissingResult(f'results/{name}/{run.name}/confusion.csv is missing: repeat that run')
        with open(run / 'confusion.csv', newline='', encoding='utf-8') as file:
            (_, *names), *lines = csv.reader(file)
        counts.append([list(map(int, line[1:])) for line in lines])
    counts = np.array(counts)
    return names, counts, counts.sum(axis=0) / counts.sum(axis=(0, 2))[:, None]


def printed(folder, name):
    """The lines of results/FOLDER/NAME.txt, which some program printed."""
    path = published.ROOT / 'results' / folder / f'{name}.txt'
    if not path.exists():
        command = published.PRINTED[folder][name]
        raise MissingResult(f'results/{folder}/{name}.txt is missing: put there what `{command}` prints')
    return path.read_text(encoding='utf-8').splitlines()
