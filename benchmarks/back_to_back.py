"""The speedrun and the assignment's default ConvNet run, one after the other on the same machine, on CIFAR-10.

    python benchmarks/back_to_back.py [--repeats 1]

The time is that of the whole command, from the start of Python to the last plot; a pair takes some 21 minutes on two
cores. Every other pair runs in reverse, so that a machine that slows down favours neither.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import timeit
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from training.errors import RunError  # noqa: E402
from training.flags import ArgumentParser, number  # noqa: E402
from training.script import run_script  # noqa: E402

SPEEDRUN, CONVNET = 'experiments/speedrun.py', 'train_convnet_pytorch.py'


def run(script, seed):
    """Seconds and summary of a run."""
    with tempfile.TemporaryDirectory() as folder:
        out_dir = Path(folder) / 'run'
        start = timeit.default_timer()
        command = [sys.executable, script, '--seed', str(seed), '--out_dir', str(out_dir)]
        if subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL).returncode:
            raise RunError(f'{script} failed')
        return timeit.default_timer() - start, json.loads((out_dir / 'summary.json').read_text())


def parse_flags():
    parser = ArgumentParser(__file__, __doc__)
    parser.add_argument('--repeats', type=number(int, 1), default=1, help='pairs of runs, the seeds from 42 up')
    return parser.parse_args()


def compare(flags):
    ratios = []
    for repeat in range(flags.repeats):
        seconds = {}
        for script in (SPEEDRUN, CONVNET)[:: 1 if repeat % 2 == 0 else -1]:
            seconds[script], summary = run(script, 42 + repeat)
            views = f', {summary["test_accuracy_tta"]:.2%} over views' if 'test_accuracy_tta' in summary else ''
            accuracy = f'test accuracy {summary["test_accuracy"]:.2%}{views}'
            print(f'{script:26}{seconds[script]:6.0f} s  {accuracy}', flush=True)
        ratios.append(seconds[SPEEDRUN] / seconds[CONVNET])
    print(f'speedrun / default ConvNet: {statistics.median(ratios):.2f} times the time')


if __name__ == '__main__':
    run_script(compare, parse_flags())
