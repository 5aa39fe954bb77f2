"""Kills each training script at twenty random moments, resumes it each time, and compares with a run left alone.

    python tests/kill.py                          # SIGKILL, which no program can notice
    python tests/kill.py --signal INT --seed 1    # Ctrl-C
    python tests/kill.py --signal TERM            # a batch system's notice

Prints a Markdown table. Exits with 1 if weights, random states or history differ in a single bit.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import batches

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from conftest import CHECKPOINTS, ROOT, SCRIPTS, assert_same_run
from test_resume import EVERYTHING

FLAGS = {
    'train_mlp_numpy': '--max_steps 15000 --eval_freq 20 --batch_size 60 --dnn_hidden_units 100 --validation_size 10',
    'train_mlp_pytorch': f'--max_steps 12000 --eval_freq 20 --batch_size 60 --dnn_hidden_units 100 {EVERYTHING}',
    'train_convnet_pytorch': f'--max_steps 150 --eval_freq 2 --batch_size 4 {EVERYTHING}',
}


def command(script, data, out_dir):
    flags = FLAGS[script].split()
    return [sys.executable, str(ROOT / f'{script}.py'), *flags, '--data_dir', data, '--out_dir', out_dir, '--resume']


def seconds_to_first_checkpoint(script, data, out_dir):
    """Does the whole run, and says how long its start takes."""
    began = time.monotonic()
    with subprocess.Popen(command(script, data, out_dir), stdout=subprocess.DEVNULL) as run:
        while not (Path(out_dir) / CHECKPOINTS[script]).exists() and run.poll() is None:
            time.sleep(0.01)
        return time.monotonic() - began  # on leaving, the block waits for the end


def killed_run(script, data, out_dir, sent, moments):
    """Starts the run again and again, stops it after so many seconds each time, and in the end lets it finish.

    Returns:
        how often it was writing a file when it was stopped.
    """
    folder, writing = Path(out_dir), 0
    for n, seconds in enumerate(moments):
        with subprocess.Popen(command(script, data, out_dir), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
            time.sleep(seconds)
            run.send_signal(sent)
            error = run.stderr.read().decode()
        if run.returncode == 0:
            sys.exit(f'kill.py: {script} had finished before kill {n + 1}: the run is too short')
        writing += bool(list(folder.glob('*.part')))
        if sent == signal.SIGKILL and 'Traceback' in error:
            sys.exit(f'kill.py: {script} said:\n{error}')
    subprocess.run(command(script, data, out_dir), stdout=subprocess.DEVNULL, check=True)
    return writing


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('scripts', nargs='*', metavar='SCRIPT', default=SCRIPTS, help=f'of {", ".join(SCRIPTS)}')
    parser.add_argument('--signal', choices=['KILL', 'INT', 'TERM'], default='KILL', help='default: KILL')
    parser.add_argument('--kills', type=int, default=20, help='of each script (default: 20)')
    parser.add_argument('--seed', type=int, default=0, help='of the moments (default: 0)')
    flags = parser.parse_args()
    sent, rng = signal.Signals[f'SIG{flags.signal}'], random.Random(flags.seed)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are told to ignore it
    os.environ['OMP_NUM_THREADS'] = os.environ['OPENBLAS_NUM_THREADS'] = '1'

    failed = False
    print('| script | kills | while writing a file | weights and history |\n| --- | --- | --- | --- |')
    for script in flags.scripts:
        with tempfile.TemporaryDirectory() as folder:
            data, whole, killed = (str(Path(folder) / name) for name in ('data', 'whole', 'killed'))
            batches.write_folder(Path(data), n_train=40, n_test=40)
            start = seconds_to_first_checkpoint(script, data, whole)
            moments = [rng.uniform(0, 2 * start) for _ in range(flags.kills)]
            writing = killed_run(script, data, killed, sent, moments)
            try:
                assert_same_run(Path(killed), Path(whole))
                verdict = 'the same bits'
            except AssertionError as error:
                verdict, failed = f'differ: {" ".join(str(error).split())[:200]}', True
        print(f'| {script}.py | {flags.kills} | {writing} | {verdict} |', flush=True)
    sys.exit(failed)


if __name__ == '__main__':
    main()
