"""What the training scripts share and is not the lesson: common flags, accuracy, the run folder, curves.

A run folder holds
    config.json     command, flags, versions and hardware: what it takes to repeat the run
    history.csv     a row per evaluation
    summary.json    the last step's figures, with time and memory; written when the run has finished
    curves.pdf/png  loss and accuracy, train and test
    checkpoint.*    the whole state of training at the last evaluation, for --resume
    previous.*      the checkpoint before, until the run has finished: for --resume if the last one is damaged
"""

import argparse
import contextlib
import csv
import io
import json
import math
import os
import platform
import re
import shlex
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cifar10_utils import CLASS_NAMES, DataError, get_cifar10_raw_data, make_data_sets


class UsageError(Exception):
    """The flags make no sense together or with what is on disk: exit status 2."""


class RunError(Exception):
    """The run failed: exit status 1."""


class ArgumentParser(argparse.ArgumentParser):
    """argparse with errors of one line, and flags that must be spelt in full."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, allow_abbrev=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter, **kwargs)

    def error(self, message):
        self.exit(2, f'{self.prog}: {message} (--help lists the flags)\n')


def number(kind, low=-math.inf, high=math.inf, open_low=False):
    """An argparse type: an int or float in [low, high], or in (low, high] with open_low."""

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not (low < value if open_low else low <= value) or not value <= high or not abs(value) < math.inf:
            bounds = f'{"above" if open_low else "at least"} {low}' if math.isfinite(low) else ''
            bounds += f'{" and " if bounds else ""}at most {high}' if math.isfinite(high) else ''
            name = 'a whole number' if kind is int else 'a number'
            raise argparse.ArgumentTypeError(f'must be {name} {bounds}, got {text!r}')
        return value

    return parse


def hidden_units(text):
    """An argparse type: '100' or '512,256', a size per hidden layer; '' for none."""
    try:
        sizes = [int(size) for size in text.split(',')] if text.strip() else []
    except ValueError:
        sizes = [0]
    if any(not 1 <= size <= 100_000 for size in sizes):
        raise argparse.ArgumentTypeError(f'must be whole numbers from 1 to 100000, commas between, got {text!r}')
    return sizes


def folder(text):
    """An argparse type: the name of a folder, which cannot be empty."""
    if not text:
        raise argparse.ArgumentTypeError('must be the name of a folder, got nothing')
    return text


def add_common_flags(parser, *, learning_rate, max_steps, batch_size, eval_freq, out_dir):
    """Adds the flags that every training script has, with the defaults of its question.

    Returns:
        the mutually exclusive group that says the length of the run.
    """
    positive = number(int, 1, 10**9)
    add = parser.add_argument
    add('--learning_rate', type=number(float, 0, open_low=True), default=learning_rate, help='learning rate')
    length = parser.add_mutually_exclusive_group()
    length.add_argument('--max_steps', type=positive, default=max_steps, help='number of steps')
    add('--batch_size', type=positive, default=batch_size, help='examples per step')
    add('--eval_freq', type=positive, default=eval_freq, help='steps between evaluations on the test set')
    old = add_run_flags(parser, out_dir)
    old.add_argument('--resume', action='store_true', help='continue the run in --out_dir from its last checkpoint')
    return length


def add_run_flags(parser, out_dir):
    """Adds the flags that say what data and seed a run has, and where it writes.

    Returns:
        the mutually exclusive group that says what becomes of an older run in its folder.
    """
    add = parser.add_argument
    add('--dataset', choices=['cifar10', 'shapes10'], default='cifar10', help='shapes10 is built in: no download')
    add('--data_dir', type=folder, default='./cifar10/cifar-10-batches-py', help='folder of the CIFAR-10 batches')
    add('--data_url', help='where to fetch the CIFAR-10 archive from, before the known sources')
    add('--validation_size', type=number(int, 0, 10**9), default=0, help='training examples held out for validation')
    add('--seed', type=number(int, 0, 2**32 - 1), default=42, help='seed of all random numbers')
    add('--out_dir', type=folder, default=out_dir, help='run folder')
    old = parser.add_mutually_exclusive_group()
    old.add_argument('--overwrite', action='store_true', help='replace the run in --out_dir')
    add('--quiet', action='store_true', help='print nothing but errors and the progress of a download')
    return old


def load_data(flags, standardize=False):
    """The data sets that the flags ask for, as {'train', 'validation', 'test'}, with integer labels.

    Raises:
        UsageError: if validation_size or batch_size does not fit the data set.
        DataError: if CIFAR-10 is missing and cannot be fetched, or is broken.
    """
    if flags.dataset == 'shapes10':
        from data.shapes10 import shapes10

        arrays = shapes10()
    else:
        arrays = get_cifar10_raw_data(flags.data_dir, flags.data_url)
    if flags.validation_size >= len(arrays[0]):
        raise UsageError(f'--validation_size must be below {len(arrays[0])}, got {flags.validation_size}')
    if flags.batch_size > len(arrays[0]):
        raise UsageError(f'--batch_size must be at most {len(arrays[0])}, got {flags.batch_size}')
    n_train = len(arrays[0]) - flags.validation_size
    if flags.batch_size > n_train:
        raise UsageError(f'--validation_size leaves {n_train} training images, less than a batch of {flags.batch_size}')
    return make_data_sets(*arrays, False, flags.validation_size, standardize)


def class_names(flags):
    """Names of the ten classes of the data set that the flags ask for."""
    if flags.dataset == 'shapes10':
        from data.shapes10 import CLASS_NAMES as names

        return names
    return CLASS_NAMES


def accuracy(predictions, targets):
    """Fraction of rows of predictions (N, C) whose largest entry is at the target: (N,) classes or (N, C) one-hot."""
    classes = targets.argmax(axis=1) if targets.ndim == 2 else targets
    return float((predictions.argmax(axis=1) == classes).mean())


def write_atomically(path, data, previous=None):
    """Writes bytes so that, whatever happens, path holds either its old content or all of the new.

    With `previous`, the old content is kept under that name; between two instants it is there alone.
    """
    path = Path(path)
    part = path.with_name(path.name + '.part')
    try:
        with open(part, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if previous and path.exists():
            os.replace(path, previous)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise RunError(f'cannot write {path}: {error.strerror}; what was there before is kept') from error


def previous_of(checkpoint):
    """Where the checkpoint before this one is kept."""
    return checkpoint.with_name(f'previous{checkpoint.suffix}')


def is_out_of_memory(error):
    """Whether memory ran out; torch says so in a RuntimeError, in words that depend on the device."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and re.search('out of memory|allocate memory', str(error)) is not None
    )


@contextlib.contextmanager
def reading(path, remedy='--overwrite starts again'):
    """Turns whatever is wrong with a checkpoint that is read into a RunError of one line."""
    try:
        yield
    except (DataError, RunError, PermissionError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise RunError(f'{path} is damaged, or no checkpoint of this network; {remedy}') from error


def checked_archive(path):
    """The path of a zip file that is whole and unpacks to no more than its own size, as checkpoints do.

    Raises:
        ValueError: if it does not, or another exception if it is no zip file.
    """
    with zipfile.ZipFile(path) as archive:
        if sum(part.file_size for part in archive.infolist()) > os.path.getsize(path):
            raise ValueError('it unpacks to more than its size')
        if archive.testzip():
            raise ValueError('wrong checksum')
    return path


def write_json(path, value):
    write_atomically(path, (json.dumps(value, indent=2) + '\n').encode())


def command(script, flags, defaults, processes=1):
    """The shortest command line, from the root of the repo, that gives `script` these flags in as many processes."""
    script, root = Path(script).resolve(), Path(__file__).resolve().parent
    words = ['python'] if processes == 1 else ['torchrun', '--nproc_per_node', f'{processes}']
    words += [(script.relative_to(root) if script.is_relative_to(root) else Path(script.name)).as_posix()]
    for name, value in vars(flags).items():
        if value != getattr(defaults, name) and name not in ('resume', 'overwrite'):
            text = ','.join(map(str, value)) if isinstance(value, list) else str(value)
            words += (
                [f'--{name}'] if value is True else [f'--{name}={text}'] if text[:1] == '-' else [f'--{name}', text]
            )
    return shlex.join(words)


def hardware():
    """CPU model, cores, threads and kernels where the environment sets them, and the GPUs if torch is in use."""
    cpu = platform.processor() or platform.machine()
    if Path('/proc/cpuinfo').exists():
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        cpu = next((line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')), cpu)
    found = {'cpu': cpu, 'cores': len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}
    for name in ('OMP_NUM_THREADS', 'OPENBLAS_CORETYPE'):  # which PyTorch or NumPy obeys, and sums depend on
        if name in os.environ:
            found[name] = os.environ[name]
    torch = sys.modules.get('torch')
    if torch and torch.cuda.is_available():
        found['gpus'] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return found


def versions():
    """Versions of Python, the system and the libraries in use."""
    found = {
        'python': platform.python_version(),
        'system': f'{platform.system()} {platform.machine()}',
        'numpy': np.__version__,
    }
    if 'torch' in sys.modules:
        found['torch'] = str(sys.modules['torch'].__version__)
    return found


def peak_memory_mb():
    """Largest resident size of this process so far in MB (10^6 bytes), or None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == 'darwin' else 1024) / 1e6)


# These change where a run reads, writes and prints, not what it computes.
NOT_COMPUTED_WITH = {'data_dir', 'data_url', 'out_dir', 'resume', 'overwrite', 'quiet', 'tensorboard'}

# All that a run writes; --overwrite takes no other file away.
OUTPUTS = ['summary.json', 'history.csv', 'confusion.csv', 'checkpoint.*', 'previous.*', 'tensorboard/events.*']
OUTPUTS += [f'{name}.{suffix}' for name in ('curves', 'confusion', 'mistakes', 'filters') for suffix in ('pdf', 'png')]


class Run:
    """A run folder: refuses to overwrite, keeps the history, and writes config, history, summary and curves.

    Args:
        flags: parsed flags. With `resume`, those of the run that is continued.
        record: False for all but one of the processes that train together: nothing is written or printed.
        compute: what else the numbers depend on, such as {'device': 'cpu'}; kept in the config.
    Attributes:
        path: the folder.
        max_steps: length of the run.
        history: a dict per evaluation, in order of steps.
        step: steps done.
        finished: whether the folder holds the finished run, in which nothing is to change.
    Raises:
        UsageError: if the folder holds a run and the flags do not say what to do with it, or are not its own.
    """

    def __init__(self, flags, record=True, compute=None):
        self.flags, self.record, self.compute = flags, record, compute or {}
        self.path = Path(flags.out_dir)
        self.max_steps = flags.max_steps
        self.history, self.step, self.seconds = [], 0, 0.0
        self.losses, self.accuracies = [], []
        self.clock = time.perf_counter()
        self._look()

    def _look(self):
        """Sees what the folder holds and whether the flags go with it."""
        flags, config = self.flags, self.path / 'config.json'
        self.resuming = bool(flags.resume) and config.exists()
        has_summary = (self.path / 'summary.json').exists()
        self.finished = self.resuming and has_summary
        if self.resuming:
            with reading(config):
                old = json.loads(config.read_text())
                started_by, old_flags, compute = old['command'], dict(old['flags']), dict(old['compute'])
            if old_flags.keys() != vars(flags).keys():
                raise UsageError(f'{self.path} is a run of another script or version, started by: {started_by}')
            self._check_flags(old_flags | compute, vars(flags) | self.compute)
            if self.finished and not has_checkpoint(self.path):
                raise UsageError(f'{self.path} holds a finished run without its checkpoint: nothing to resume')
        elif config.exists() and not flags.overwrite:
            unfinished = 'an unfinished run' + (' (--resume continues it)' if has_checkpoint(self.path) else '')
            state = 'a finished run' if has_summary else unfinished
            raise UsageError(f'{self.path} holds {state}: choose another --out_dir, or --overwrite to replace it')
        elif not flags.overwrite and (found := self._outputs()):
            raise UsageError(
                f'{self.path} holds {found[0].name} of no known run: choose another --out_dir, or --overwrite'
            )

    def _outputs(self):
        """What an older run has left in the folder, its config apart."""
        return [old for pattern in OUTPUTS for old in self.path.glob(pattern)]

    def _check_flags(self, old, now):
        for name in sorted((old.keys() | now.keys()) - NOT_COMPUTED_WITH):
            if old.get(name) != now.get(name):
                label = f'--{name}' if hasattr(self.flags, name) else name
                raise UsageError(
                    f'--resume continues {self.path} as it was started: '
                    f'{label} is {old.get(name)} there, got {now.get(name)}'
                )

    def start(self, script, defaults):
        """Makes the folder and writes its config, unless the run is resumed.

        Args:
            script: file name of the training script.
            defaults: its flags without any argument, to record the shortest command that repeats the run.
        """
        if not self.record or self.finished:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock()
            self._look()  # another run may have been here since
            if self.resuming:
                return
            for old in self._outputs():
                old.unlink()
        except OSError as error:
            raise RunError(f'cannot write {self.path}: {error.strerror}; choose another --out_dir') from error
        config = {
            'command': command(script, self.flags, defaults, self.compute.get('processes', 1)),
            'flags': vars(self.flags),
        }
        config |= {'compute': self.compute, 'versions': versions(), 'hardware': hardware()}
        write_json(self.path / 'config.json', config)
        if self.flags.resume:
            self.print(f'nothing to resume in {self.path}: starting')

    def _lock(self):
        """Keeps other processes out of the folder for as long as this one lives."""
        from filelock import FileLock, Timeout

        self.lock = FileLock(self.path / '.lock', is_singleton=True)
        try:
            self.lock.acquire(blocking=False)
        except Timeout as error:
            raise UsageError(f'{self.path} is in use by another run: choose another --out_dir') from error

    def restore(self, checkpoint, load):
        """Calls load(path) with the checkpoint of a run that is resumed, if it got so far.

        If that file is damaged or missing, the checkpoint before is taken, and a line says so.

        Raises:
            RunError: if neither can be loaded.
        """
        if not self.resuming:
            return
        previous = previous_of(checkpoint)
        if previous.exists():
            try:
                load(checkpoint)
            except RunError:
                if self.record:
                    line = f'{checkpoint} is damaged or missing: taking the one before, {previous}'
                    tqdm.write(line, file=sys.stderr)
                load(previous)
                if self.record:
                    checkpoint.unlink(missing_ok=True)  # or the next one would push `previous` out
        elif checkpoint.exists():
            load(checkpoint)
        else:
            self.print(f'there is no checkpoint in {self.path} yet: starting')
            return
        if not self.finished:
            self.print(f'continuing {self.path} at step {self.step}')

    def print(self, line):
        """Prints a line above the progress bar, unless --quiet."""
        if self.record and not self.flags.quiet:
            tqdm.write(line)

    def progress(self):
        """A bar that counts images and shows their rate and the time left; off when stderr is no terminal."""
        off = self.flags.quiet or not self.record or None
        size = self.flags.batch_size
        total, done = self.max_steps * size, self.step * size
        self.steps_timed, self.step_seconds, self.mark = 0, 0.0, None
        return tqdm(total=total, initial=done, unit=' images', unit_scale=True, disable=off, dynamic_ncols=True)

    def count_step(self, loss, accuracy):
        """Counts a step with the loss and accuracy of its batch.

        Raises:
            RunError: if the loss is not finite.
        """
        self.step += 1
        now = time.perf_counter()
        if self.mark:
            self.steps_timed += 1
            self.step_seconds += now - self.mark
        self.mark = now
        self.losses.append(loss)
        self.accuracies.append(accuracy)
        self._check_loss(loss)

    def _check_loss(self, loss):
        if not math.isfinite(loss):
            kept = self.history[-1]['step'] if self.history else 0
            state = f'the checkpoint of step {kept} in {self.path} is kept' if kept else 'there is no checkpoint yet'
            remedy = ': lower --learning_rate, with --overwrite' if hasattr(self.flags, 'learning_rate') else ''
            raise RunError(f'the loss is {loss} at step {self.step}{remedy}; {state}')

    def is_evaluation_due(self):
        """True every eval_freq steps and at the last step."""
        return self.step % self.flags.eval_freq == 0 or self.step == self.max_steps

    def log(self, evaluated):
        """Adds a row to the history: the means over the training batches since the last row, and `evaluated`.

        Args:
            evaluated: {'test': (loss, accuracy), ...}, a pair for each set.
        Raises:
            RunError: if a loss is not finite; the row is not added then, nor a checkpoint written.
        """
        for loss, _ in evaluated.values():
            self._check_loss(loss)
        pairs = {'train': (float(np.mean(self.losses)), float(np.mean(self.accuracies)))} | evaluated
        self.losses, self.accuracies = [], []
        row = {'step': self.step}
        for name, (loss, accuracy) in pairs.items():
            row |= {f'{name}_loss': loss, f'{name}_accuracy': accuracy}
        self.history.append(row)
        self.mark = None  # what follows, until the next step has been counted, is no step

    def print_row(self):
        """Prints the last row of the history: after it was saved, so that a reader who has gone takes nothing along."""
        row = self.history[-1]
        names = [name.removesuffix('_loss') for name in row if name.endswith('_loss')]
        figures = [f'{name} loss {row[f"{name}_loss"]:.4f} accuracy {row[f"{name}_accuracy"]:.4f}' for name in names]
        self.print(f'step {self.step:>{len(str(self.max_steps))}}  ' + '  '.join(figures))

    def state(self):
        """What a checkpoint keeps of the run itself."""
        return {'step': self.step, 'history': self.history, 'seconds': self._seconds()}

    def load_state(self, state):
        self.step, self.history, self.seconds = state['step'], state['history'], state['seconds']

    def _seconds(self):
        return self.seconds + time.perf_counter() - self.clock

    def write_history(self, writer=None):
        """Writes history.csv, and the last row to a TensorBoard writer if there is one."""
        if self.record:
            if writer:
                for name, value in self.history[-1].items():
                    writer.add_scalar(name, value, self.step)
                writer.flush()
            text = io.StringIO()
            table = csv.DictWriter(text, self.history[-1].keys(), lineterminator='\n')
            table.writeheader()
            table.writerows(self.history)
            write_atomically(self.path / 'history.csv', text.getvalue().encode())

    def finish(self, **more):
        """Writes the curves and, last of all, the summary: the figures of the last step."""
        if not self.record:
            return
        if self.finished:
            self.print(f'{self.path} had finished: nothing to do')
            return
        plot_curves(self.history, self.path)
        seconds = self._seconds()
        rate = round(self.steps_timed * self.flags.batch_size / self.step_seconds) if self.steps_timed else None
        cost = {'seconds': round(seconds, 2), 'images_per_second': rate, 'peak_memory_mb': peak_memory_mb()}
        write_json(self.path / 'summary.json', self.history[-1] | more | cost)
        for previous in self.path.glob('previous.*'):
            previous.unlink()
        last = self.history[-1]
        self.print(f'test accuracy {last["test_accuracy"]:.4f} after {self.step} steps and {seconds:.1f} s')
        self.print(f'results in {self.path}, curves in {self.path / "curves.png"}')


def save_figure(figure, path, name):
    """Writes a matplotlib figure as NAME.pdf, for a report, and NAME.png."""
    for suffix, options in [('pdf', {'metadata': {'CreationDate': None}}), ('png', {'dpi': 150})]:
        image = io.BytesIO()
        figure.savefig(image, format=suffix, **options)
        write_atomically(path / f'{name}.{suffix}', image.getvalue())


def plot_curves(history, path):
    """Draws loss and accuracy against the step, as curves.pdf and curves.png in the folder `path`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.6))
    figure.subplots_adjust(left=0.1, right=0.98, bottom=0.18, top=0.97, wspace=0.28)  # 2.25 fits beside the axis
    styles = {'train': ('0.55', '-'), 'validation': ('tab:green', '-.'), 'test': ('tab:blue', '-')}
    steps = [row['step'] for row in history]
    for axes, what in zip(figure.subplots(1, 2), ['loss', 'accuracy'], strict=True):
        for name, (color, line) in styles.items():
            if f'{name}_{what}' in history[0]:
                values = [row[f'{name}_{what}'] for row in history]
                marker = 'o' if len(steps) <= 20 else None
                axes.plot(steps, values, line, color=color, marker=marker, markersize=3, label=name)
        axes.set(xlabel='step', ylabel={'loss': 'cross entropy', 'accuracy': 'accuracy'}[what])
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
    axes.legend(frameon=False)
    save_figure(figure, path, 'curves')


def plot_predictions(path, data_set, probabilities, names):
    """Draws the confusion matrix with the accuracy of each class, and the 40 most confident mistakes.

    Args:
        path: folder for confusion.pdf/png, its counts in confusion.csv, and mistakes.pdf/png.
        data_set: a DataSet with integer labels.
        probabilities: (N, C) of its images, in file order.
        names: of the C classes.
    Returns:
        {name: accuracy} of each class.
    """
    from matplotlib.figure import Figure

    labels, predictions = data_set.labels, probabilities.argmax(axis=1)
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (labels, predictions), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    lines = [['true class', *names], *([name, *row] for name, row in zip(names, counts, strict=True))]
    write_atomically(path / 'confusion.csv', ''.join(','.join(map(str, line)) + '\n' for line in lines).encode())

    figure = Figure(figsize=(5.4, 5), layout='constrained')
    axes = figure.subplots()
    axes.imshow(shares, cmap='Blues', vmin=0, vmax=1)
    for (i, j), share in np.ndenumerate(shares):
        axes.text(j, i, f'{100 * share:.1f}', ha='center', va='center', fontsize=7, color='w' if share > 0.5 else 'k')
    axes.set_xticks(range(len(names)), names, rotation=45, ha='right')
    axes.set_yticks(range(len(names)), [f'{name} {100 * shares[i, i]:.1f}' for i, name in enumerate(names)])
    axes.set(xlabel='predicted', ylabel='true class and its accuracy in %')
    save_figure(figure, path, 'confusion')

    confidence = probabilities.max(axis=1) * (predictions != labels)
    worst = np.argsort(-confidence, kind='stable')[:40]
    pixels = data_set.pixels(worst)
    figure = Figure(figsize=(8, 6.2), layout='constrained')
    for axes, image, i in zip(figure.subplots(5, 8).flat, pixels, worst, strict=False):
        axes.axis('off')
        if confidence[i] > 0:
            axes.imshow(image)
            axes.set_title(f'{names[labels[i]]}\n{names[predictions[i]]} {confidence[i]:.2f}', fontsize=7)
    figure.suptitle('The most confident mistakes: true class, predicted class and its probability', fontsize=9)
    save_figure(figure, path, 'mistakes')
    return dict(zip(names, shares.diagonal().tolist(), strict=True))


def plot_filters(path, weight):
    """Draws the filters (n, 3, h, w) of a first convolution as colour images, in filters.pdf and filters.png."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6 * math.ceil(len(weight) / 16) / 16 + 0.3), layout='constrained')
    scale = np.abs(weight).max(axis=(1, 2, 3), keepdims=True)  # grey is 0 in each of them
    images = (0.5 + 0.5 * weight / scale).transpose(0, 2, 3, 1)
    for axes, image in zip(figure.subplots(math.ceil(len(weight) / 16), 16).flat, images, strict=False):
        axes.imshow(image)
        axes.axis('off')
    save_figure(figure, path, 'filters')


def has_checkpoint(folder):
    """Whether a run in this folder can be resumed. A .part, a checkpoint half written, does not count."""
    found = [file for pattern in ('checkpoint.*', 'previous.*') for file in Path(folder).glob(pattern)]
    return any(file.suffix != '.part' for file in found)


def _how_to_go_on(flags):
    if getattr(flags, 'resume', None) is None:  # scripts that have no checkpoints
        return ''
    if not has_checkpoint(flags.out_dir):
        return ': there is no checkpoint yet'
    return f': the same command with --resume continues {flags.out_dir} from its last checkpoint'


def run_script(train, flags, leave=sys.exit):
    """Calls train(flags), then leave(status): 2 where the flags are wrong, 1 where the run fails, in one clear line."""
    name = Path(sys.argv[0]).name
    # Either is None if the program was started with it closed.
    sys.stdout = sys.stdout or open(os.devnull, 'w')  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, 'w')  # noqa: SIM115
    # A path may hold what the terminal cannot show.
    sys.stdout.reconfigure(errors='backslashreplace')
    status, message = 0, ''
    try:
        train(flags)
        sys.stdout.flush()
    except UsageError as error:
        status, message = 2, str(error)
    except BrokenPipeError:
        status, message = 1, f'whoever read the output has gone{_how_to_go_on(flags)}'
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at the end
    except (RunError, DataError, OSError) as error:
        status, message = 1, str(error)
    except UnicodeEncodeError as error:
        status, message = 1, f'this locale has no letters for {error.object!r}: choose another path or a UTF-8 locale'
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            status, message = 1, 'out of memory: lower --batch_size or the size of the network'
        elif 'WORLD_SIZE' in os.environ and re.search('gloo|NCCL|[Cc]onnection', str(error)):
            status, message = 1, f'another of the processes has gone{_how_to_go_on(flags)}'
        else:
            raise
    except KeyboardInterrupt:
        status, message = 130, f'interrupted{_how_to_go_on(flags)}'
    if message:
        print(f'{name}: {message}', file=sys.stderr)
    leave(status)
