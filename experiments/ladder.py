"""Question 2, as far as it goes: the ladder of modifications and the best trainings, each a script and its flags.

    python experiments/ladder.py                              # do every run that results/ does not hold yet
    python experiments/ladder.py ladder/adam speedrun         # only these rows
    python experiments/ladder.py --list                       # show the table of the rows as far as they are done
    python experiments/ladder.py --storage postgresql://...   # on several machines: each call is a worker;
                                                              # pip install psycopg2-binary first

Optuna keeps the queue, because its storage does what a home-made one would have to: it hands each run to one worker,
notices a worker that died, and gives its run to another. SQLite serves the workers of one machine, PostgreSQL those of
many, the first of which should be started a moment before the others; what a run leaves travels through the storage,
so the machines need no shared folder. A run that was cut off is resumed where its folder is found. With several
workers on one machine, say how many threads each may take (OMP_NUM_THREADS=1). A worker that finds nothing more to do
prints the table of its rows.
"""

import json
import os
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

try:
    import optuna
    import sqlalchemy
except ImportError as error:
    sys.exit(f'ladder.py needs {error.name}, which is missing: pip install -r requirements-dev.txt')
from rows import ROWS
from table import mean_and_deviation, table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from data.locks import locked  # noqa: E402
from training.errors import RunError, UsageError  # noqa: E402
from training.files import write_atomically  # noqa: E402
from training.flags import ArgumentParser  # noqa: E402
from training.folder import has_checkpoint  # noqa: E402
from training.script import run_script  # noqa: E402

RESULTS, RUNS = ROOT / 'results', ROOT / 'runs'
HEARTBEAT = 30  # twice as long without one, and a worker counts as dead
PATIENCE = 600  # seconds for another worker that fills the queue
FILES = ['config.json', 'history.csv', 'confusion.csv', 'summary.json']  # the third of ConvNets alone


def runs(name):
    """Names of the runs of a row: 'NAME/seed42' and so on."""
    return [f'{name}/seed{42 + i}' for i in range(ROWS[name].seeds)] if name in ROWS else []


def is_held(run):
    return (RESULTS / run / 'summary.json').exists()


def keep(run, texts):
    """Writes the files of a run to results/, the summary last."""
    folder = RESULTS / run
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if name in texts:
            write_atomically(folder / name, texts[name].encode())


def accuracy(summary):
    """What a run is judged by: the images kept apart where there are some, else the test images."""
    return summary.get('validation_accuracy', summary['test_accuracy'])


def train(run):
    """Does a run, or the rest of it; its text files as {name: text}."""
    name, seed = run.split('/seed')
    folder = RUNS / run
    row = ROWS[name]
    words = [
        sys.executable,
        row.script,
        *shlex.split(row.flags),
        '--seed',
        seed,
        '--out_dir',
        os.path.relpath(folder, ROOT),
    ]
    if (folder / 'config.json').exists():
        words.append('--resume' if has_checkpoint(folder) else '--overwrite')
    print(f'{run}: {row.script} {row.flags}', flush=True)
    subprocess.run(words, cwd=ROOT, check=True)
    return {name: (folder / name).read_text() for name in FILES if (folder / name).exists()}


def do(trial):
    """What a worker does with one trial: trains its run, and leaves its files in results/ and in the storage."""
    run = trial.user_attrs.get('run')
    if run is None:  # the queue is empty
        trial.study.stop()
        raise optuna.TrialPruned
    if run not in runs(run.rpartition('/')[0]):
        raise optuna.TrialPruned(f'{run} was queued when rows.py had it')
    texts = train(run)
    keep(run, texts)
    for name, text in texts.items():
        trial.set_user_attr(name, text)
    return accuracy(json.loads(texts['summary.json']))


def collect(study):
    """Copies what any worker has finished from the storage to results/."""
    for trial in study.get_trials(states=[optuna.trial.TrialState.COMPLETE]):
        if not is_held(trial.user_attrs['run']):
            keep(trial.user_attrs['run'], trial.user_attrs)


def queue(study, wanted):
    """Enqueues the wanted runs that nobody has done or is doing."""
    states = optuna.trial.TrialState
    taken = study.get_trials(states=[states.WAITING, states.RUNNING, states.COMPLETE])
    taken = {trial.user_attrs.get('run') for trial in taken}
    for run in wanted:
        if run not in taken and not is_held(run):
            study.enqueue_trial({}, user_attrs={'run': run})


def open_study(storage):
    """The study behind a URL, made if it is not there. Its workers show every HEARTBEAT seconds that they live."""
    warnings.simplefilter('ignore', optuna.exceptions.ExperimentalWarning)
    retry = optuna.storages.RetryHeartbeatStaleTrialCallback()
    storage = optuna.storages.RDBStorage(storage, heartbeat_interval=HEARTBEAT, heartbeat_stale_trial_callback=retry)
    if storage.engine.name == 'sqlite':
        # It knows no SELECT ... FOR UPDATE: without its lock from the start, two workers can take the same run.
        sqlalchemy.event.listen(storage.engine, 'begin', lambda database: database.exec_driver_sql('BEGIN IMMEDIATE'))
    return optuna.create_study(study_name='ladder', storage=storage, load_if_exists=True, direction='maximize')


def work(storage, wanted):
    """Does the wanted runs, side by side with every other worker on the same storage."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a run says itself why it failed
    RUNS.mkdir(parents=True, exist_ok=True)
    # One worker at a time makes the tables and fills the queue.
    with locked(RUNS / 'ladder.lock', PATIENCE, 'another worker fills the queue: waiting for it'):
        try:
            study = open_study(storage)
        except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
            raise UsageError(f'--storage {storage} cannot be opened: {str(error).splitlines()[0]}') from error
        collect(study)
        optuna.storages.fail_stale_trials(study)  # the runs of workers that died are queued again
        queue(study, wanted)
    study.optimize(do, catch=[subprocess.CalledProcessError])
    collect(study)


def overview(names):
    """The rows as a table: how many of their runs are done, and the accuracy of these at the last step."""
    lines = [['row', 'done', 'accuracy %', 'on', 'command']]
    for name in names:
        texts = [(RESULTS / run / 'summary.json').read_text() for run in runs(name) if is_held(run)]
        accuracies = [100 * accuracy(json.loads(text)) for text in texts]
        found = mean_and_deviation(accuracies, 2) if accuracies else ''
        row = ROWS[name]
        images = 'validation' if '--validation_size' in row.flags else 'test'
        lines.append([name, f'{len(texts)} of {row.seeds}', found, images, f'{row.script} {row.flags}'.strip()])
    return table(lines)


def parse_flags():
    parser = ArgumentParser(__file__, __doc__)
    parser.add_argument('rows', nargs='*', metavar='ROW', help=f'of {", ".join(ROWS)}; all if none is named')
    parser.add_argument(
        '--storage', default=f'sqlite:///{RUNS}/ladder.db', help="where Optuna keeps the queue: SQLAlchemy's URL"
    )
    parser.add_argument('--list', action='store_true', help='show the table of the rows as far as they are done')
    flags = parser.parse_args()
    for name in flags.rows:
        if name not in ROWS:
            parser.error(f'there is no row {name!r}; the rows are {", ".join(ROWS)}')
    return flags


def climb(flags):
    """Does the missing runs of the rows, unless they are only to be listed, and prints the table."""
    names = flags.rows or list(ROWS)
    missing = [] if flags.list else [run for name in names for run in runs(name) if not is_held(run)]
    if missing:
        work(flags.storage, missing)
        missing = [run for run in missing if not is_held(run)]
    print(overview(names))
    if missing:
        raise RunError(f'not done, or being done by another worker: {", ".join(missing)}')


if __name__ == '__main__':
    run_script(climb, parse_flags())
