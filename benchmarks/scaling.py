"""The ConvNet on one machine with one process and with two, at equal threads and equal global batch.

    python benchmarks/scaling.py [--steps 40] [--repeats 2]

Each is a real run of train_convnet_pytorch.py through torchrun on the built-in set; the rate is that of its training
steps. The loss of both is that of the same batches: it differs by the statistics of batch normalisation, which each
process takes over its own rows, and by rounding.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from training.errors import RunError  # noqa: E402
from training.flags import ArgumentParser, number  # noqa: E402
from training.script import run_script  # noqa: E402


def run(processes, threads, steps, batch_size, out_dir):
    """The summary of a run."""
    words = [
        '-m',
        'torch.distributed.run',
        '--standalone',
        '--nproc_per_node',
        processes,
        'train_convnet_pytorch.py',
        '--quiet',
    ]
    words += ['--dataset', 'shapes10', '--max_steps', steps, '--eval_freq', steps, '--batch_size', batch_size]
    environment = os.environ | {'OMP_NUM_THREADS': str(threads)}
    command = [sys.executable, *map(str, words), '--out_dir', str(out_dir)]
    if subprocess.run(command, cwd=ROOT, env=environment).returncode:
        raise RunError(f'train_convnet_pytorch.py failed in {processes} processes')
    return json.loads((out_dir / 'summary.json').read_text())


def parse_flags():
    parser = ArgumentParser(__file__, __doc__)
    parser.add_argument(
        '--steps', type=number(int, 2), default=40, help='training steps of each run; the first is not timed'
    )
    parser.add_argument('--repeats', type=number(int, 1), default=2, help='runs of each kind, in turns')
    parser.add_argument('--batch_size', type=number(int, 1), default=128, help='global batch')
    flags = parser.parse_args()
    if flags.batch_size % 2:
        parser.error(f'--batch_size must be even, for two processes, got {flags.batch_size}')
    return flags


def compare(flags):
    found = {1: [], 2: []}
    for _ in range(flags.repeats):
        for processes, summaries in found.items():
            with tempfile.TemporaryDirectory() as folder:
                summaries.append(run(processes, 2 // processes, flags.steps, flags.batch_size, Path(folder) / 'run'))
    print(f'ConvNet, batch {flags.batch_size}, {flags.steps} steps')
    for processes, summaries in found.items():
        rate = statistics.median(summary['images_per_second'] for summary in summaries)
        loss = summaries[0]['train_loss']
        print(f'{processes} x {2 // processes} threads: {rate:6.0f} images/s, training loss {loss:.4f}')
    ratio = statistics.median(
        b['images_per_second'] / a['images_per_second'] for a, b in zip(*found.values(), strict=True)
    )
    print(f'two processes / one: {ratio:.2f} times the rate')


if __name__ == '__main__':
    run_script(compare, parse_flags())
