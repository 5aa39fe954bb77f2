"""Do two commits compute the same? Trains with both, and compares weights, histories and summaries to the last bit.

    python tests/same_bits.py main                           # with the working tree
    python tests/same_bits.py main HEAD --only numpy mlp     # with another commit, these runs alone
    python tests/same_bits.py main --keep ~/bits             # what main computes is kept there for the next time

Weights are compared in the order in which they are stored, whatever their names. What only one commit writes, a column
or a figure, is named and not compared; times are not compared either. A run called _resumed is killed after its first
checkpoint and continued: its bits have to be those of the run that was left alone, too. The default runs of the MLPs
see all of CIFAR-10, the others 10,000 training and 1,000 test images, so that evaluations do not take most of the time.

Prints a Markdown table. Exits with 1 if a run differs or fails.
"""

import argparse
import csv
import hashlib
import io
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import tarfile
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import batches
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from cifar10_utils import load_cifar10  # noqa: E402

NUMPY, MLP, CONVNET = 'train_mlp_numpy.py', 'train_mlp_pytorch.py', 'train_convnet_pytorch.py'
SHORT = '--max_steps 60 --eval_freq 30'
TOGETHER = ['local_init', 'regularised', 'augmented', 'l1_penalty', 'pruned', 'deeper', 'whitened']
# A command, or a row in the rows.py of each commit and flags for its length.
RUNS = {
    'numpy': NUMPY,
    'numpy_float64': f'{NUMPY} --dtype float64',
    'mlp': MLP,
    'mlp_bf16': f'{MLP} --max_steps 300 --precision bf16',
    'mlp_many_flags': f'{MLP} --max_steps 300 --eval_freq 100 --batch_norm manual --optimizer adam --dropout 0.1 '
    '--standardize --augment --ema 0.9 --lr_schedule cosine --validation_size 1000',
    'mlp_two_processes': f'torchrun --nproc_per_node 2 {MLP} {SHORT}',
    'convnet': f'{CONVNET} {SHORT}',
    'convnet_fp32': f'{CONVNET} --max_steps 60 --precision fp32',
    'convnet_bf16': f'{CONVNET} --max_steps 10 --precision bf16',  # in emulation where the CPU has none
    'convnet_augmented': f'{CONVNET} --max_steps 30 --augment --lr_schedule onecycle',
    'convnet_two_processes': f'torchrun --nproc_per_node 2 {CONVNET} --max_steps 20',
    'mlp_best': 'mlp_best --max_steps 30 --eval_freq 15',
    'convnet_best': 'convnet_best --max_steps 6 --eval_freq 3',
    **{f'combined_{name}': f'ladder/combined_{name} --max_steps 20 --eval_freq 20' for name in TOGETHER},
    'speedrun': 'experiments/speedrun.py --epochs 1.2',
}
RUNS |= {f'{name}_resumed': RUNS[name] for name in ('numpy', 'mlp_many_flags', 'convnet')}
ON_ALL_IMAGES = ['numpy', 'numpy_float64', 'numpy_resumed', 'mlp']
RUNS_OF_NEW: dict[str, str] = {}  # the new commit's, where they are others
COST = {'seconds', 'images_per_second', 'peak_memory_mb', 'matrix_product_gflops'}


class Commit(NamedTuple):
    """A tree to train in, the runs by name, and the folder for what they come to."""

    tree: Path
    runs: dict[str, str]
    outcomes: Path


class Failure(Exception):
    """A run that did not do what it should."""


def words_of(tree, text):
    """The words of an entry of RUNS."""
    if '.py' not in text:
        name, length = text.split(' ', 1)
        row = runpy.run_path(str(tree / 'experiments' / 'rows.py'))['ROWS'][name]
        text = f'{row.script} {re.sub("--(epochs|max_steps|eval_freq) [0-9]+", "", row.flags)} {length}'
    return [sys.executable, *shlex.split(text.replace('torchrun', '-m torch.distributed.run --standalone'))]


def execute(words, tree):
    """Runs a command to its end; what it prints."""
    done = subprocess.run(words, cwd=tree, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f'exit status {done.returncode}: {(done.stderr.strip() or "no message").splitlines()[-1]}')
    return done.stdout


def execute_in_two_parts(words, tree, out_dir):
    """Kills a command as soon as it has left a checkpoint, and continues it."""
    with subprocess.Popen([*words, '--overwrite', '--quiet'], cwd=tree, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not any(file.suffix != '.part' for file in out_dir.glob('checkpoint.*')):
            time.sleep(0.01)
        process.kill()
    if (out_dir / 'summary.json').exists() or 'continuing' not in execute([*words, '--resume'], tree):
        raise Failure('it was not killed in time, or --resume did not continue it')


def weights_of(out_dir):
    """(name, array) of each parameter and buffer of the model, and of its moving average, in the order of the file."""
    for path in out_dir.glob('checkpoint.npz'):
        with np.load(path, allow_pickle=False) as arrays:
            yield from ((name, arrays[name]) for name in sorted(arrays) if 'layer' in name)
    for path in out_dir.glob('checkpoint.pt'):
        import torch

        state = torch.load(path, map_location='cpu', weights_only=True)
        for part in ('model', 'ema'):
            yield from ((f'{part} {name}', w.numpy()) for name, w in (state.get(part) or {}).items())


def write_part(data_dir, folder):
    """Copies the first 2,000 images of each training batch and 1,000 test images."""
    images, labels, test_images, test_labels = load_cifar10(data_dir)
    folder.mkdir()
    for i, name in enumerate(batches.TRAIN_FILES):
        rows = slice(10_000 * i, 10_000 * i + 2000)
        (folder / name).write_bytes(batches.batch_bytes(images[rows].reshape(2000, -1), labels[rows].tolist()))
    pixels = test_images[:1000].reshape(1000, -1)
    (folder / 'test_batch').write_bytes(batches.batch_bytes(pixels, test_labels[:1000].tolist()))


def outcome(commit, name, data_dirs):
    """Seconds, history, digests of the weights, and summary of a run, which is done unless it is kept."""
    words = words_of(commit.tree, commit.runs[name])
    settings = [words, os.environ.get('OMP_NUM_THREADS'), os.cpu_count(), version('numpy'), version('torch')]
    file = commit.outcomes / f'{name}.json'
    if file.exists() and (kept := json.loads(file.read_text()))['settings'] == settings:
        return kept
    with tempfile.TemporaryDirectory(prefix='same_bits.') as folder:
        out_dir, began = Path(folder) / 'run', time.monotonic()
        data_dir = data_dirs[name not in ON_ALL_IMAGES]
        words = [*words, '--data_dir', str(data_dir), '--out_dir', str(out_dir)]
        if name.endswith('_resumed'):
            execute_in_two_parts(words, commit.tree, out_dir)
        else:
            execute([*words, '--overwrite', '--quiet'], commit.tree)
        found = {'settings': settings, 'seconds': round(time.monotonic() - began, 1)}
        found['history'] = list(csv.DictReader(io.StringIO((out_dir / 'history.csv').read_text())))
        found['weights'] = [
            (name, f'{w.dtype} {w.shape} {hashlib.sha256(w.tobytes()).hexdigest()}') for name, w in weights_of(out_dir)
        ]
        found['summary'] = json.loads((out_dir / 'summary.json').read_text())
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found))
    return found


def difference(old, new):
    """What differs first between two outcomes, or ''; and the names that only one of them has."""
    alone = (old['history'][0].keys() ^ new['history'][0].keys()) | (old['summary'].keys() ^ new['summary'].keys())
    rows = [(f'step {a["step"]}', a, b) for a, b in zip(old['history'], new['history'], strict=False)]
    for where, a, b in [*rows, ('summary', old['summary'], new['summary'])]:
        for name in a:
            if name not in alone | COST and a[name] != b[name]:
                return f'{where}: {name} is {b[name]}, was {a[name]}', alone
    for what in ('history', 'weights'):
        if len(old[what]) != len(new[what]):
            return f'{what}: {len(new[what])} entries, were {len(old[what])}', alone
    for (old_name, a), (new_name, b) in zip(old['weights'], new['weights'], strict=True):
        if a != b:
            return f'weights: {new_name} differs from {old_name}', alone
    return '', alone


def compare(name, commits, data_dirs):
    """The last cells of a line, and whether the run is the same."""
    ends, changes = [], []
    for side, commit in zip(('old', 'new'), commits, strict=True):
        try:
            ends.append(outcome(commit, name, data_dirs))
            if name.endswith('_resumed'):
                whole = outcome(commit, name.removesuffix('_resumed'), data_dirs)
                changes += [f'{side}, resumed: {found}' for found in [difference(whole, ends[-1])[0]] if found]
        except (Failure, OSError, KeyError) as error:
            return f'| | | {side} failed: {error} |', False
    found, alone = difference(*ends)
    changes += [found] if found else []
    verdict = '; '.join(changes) or 'the same bits'
    verdict += f'; in one alone: {", ".join(sorted(alone))}' if alone else ''
    return f'| {ends[0]["seconds"]} | {ends[1]["seconds"]} | {verdict} |', not changes


def export(commit, folder):
    """Unpacks a commit into the folder; its full name."""
    found = subprocess.run(['git', 'rev-parse', '--verify', f'{commit}^{{commit}}'], cwd=ROOT, capture_output=True)
    if found.returncode:
        sys.exit(f'same_bits.py: there is no commit {commit!r} here')
    sha = found.stdout.decode().strip()
    archive = subprocess.run(['git', 'archive', sha], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter='data')
    return sha


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('old', help='a commit')
    parser.add_argument('new', nargs='?', help='another (default: the working tree)')
    parser.add_argument('--only', nargs='+', metavar='NAME', choices=RUNS, default=RUNS, help=f'of {", ".join(RUNS)}')
    parser.add_argument('--keep', type=Path, help="folder for the old commit's outcomes, which are used again")
    parser.add_argument('--data_dir', type=Path, default=ROOT / 'cifar10' / 'cifar-10-batches-py', help='of CIFAR-10')
    flags = parser.parse_args()
    if not (data_dir := flags.data_dir.resolve()).is_dir():
        parser.error(f'there is no CIFAR-10 in {data_dir}: name its folder by --data_dir')

    failed = False
    with tempfile.TemporaryDirectory(prefix='same_bits.') as folder:
        trees = [Path(folder) / 'old', Path(folder) / 'new' if flags.new else ROOT]
        write_part(data_dir, Path(folder) / 'part')
        sha = export(flags.old, trees[0])
        if flags.new:
            export(flags.new, trees[1])
        old = Commit(trees[0], RUNS, (flags.keep or Path(folder) / 'kept') / sha)
        new = Commit(trees[1], RUNS | RUNS_OF_NEW, Path(folder) / 'outcomes')
        print('| run | old s | new s | weights, history, summary |\n| --- | ---: | ---: | --- |', flush=True)
        for name in flags.only:
            line, same = compare(name, (old, new), (data_dir, Path(folder) / 'part'))
            failed |= not same
            print(f'| {name} {line}', flush=True)
    sys.exit(failed)


if __name__ == '__main__':
    main()
