"""Feeds the reader of CIFAR-10 batches with what a coverage-guided fuzzer (atheris) makes of small good ones.

    pip install atheris && python tests/fuzz.py --seconds 600

Whatever the bytes, `load_cifar10_batch` returns a batch or raises DataError, in at most 10 s and 1 GB, and opens,
imports or calls nothing. The fuzzer stops with the input when that does not hold.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import batches
import numpy as np

try:
    import atheris
except ImportError:
    sys.exit('fuzz.py needs atheris, which is missing: pip install atheris')

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
with atheris.instrument_imports(include=['pickle', 'data']):
    import pickle

    import cifar10_utils

OPCODES = sorted(getattr(pickle, name)[0] for name in pickle.__all__ if isinstance(getattr(pickle, name), bytes))
FORBIDDEN = ('exec', 'compile', 'import', 'os.', 'subprocess.', 'socket.', 'ctypes.', 'pickle.find_class', 'shutil.')


class Forbidden(BaseException):
    """What no reader of data needs was asked of Python; no `except Exception` may take it for bad data."""


class Watch:
    """Raises Forbidden as soon as Python is asked for something that no reader of data needs."""

    def __init__(self, path):
        self.path, self.on = path, False
        sys.addaudithook(self)

    def __call__(self, event, args):
        if self.on and (event.startswith(FORBIDDEN) or (event == 'open' and args[0] != self.path)):
            self.on = False
            raise Forbidden(f'{event} {args} while a batch was read')


def seeds():
    """Good batches of one and three images, in each protocol and with either kind of string."""
    rng = np.random.default_rng(0)
    for n in (1, 3):
        for protocol in range(6):
            yield batches.batch_bytes(*batches.random_batch(n, rng), protocol=protocol)


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--seconds', type=int, default=600, help='how long (default: 600)')
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path, corpus, tokens = (str(Path(folder) / name) for name in ('batch', 'corpus', 'opcodes'))
        Path(corpus).mkdir()
        for i, seed in enumerate(seeds()):
            (Path(corpus) / str(i)).write_bytes(seed)
        Path(tokens).write_text(''.join(f'"\\x{opcode:02x}"\n' for opcode in OPCODES))
        watch = Watch(path)

        def read(data):
            with open(path, 'wb') as file:
                file.write(data)
            watch.on = True
            try:
                images, labels = cifar10_utils.load_cifar10_batch(path)
            except cifar10_utils.DataError:
                return
            finally:
                watch.on = False
            assert images.dtype == np.uint8 and images.shape == (len(labels), 3, 32, 32) and len(labels) >= 1
            assert labels.dtype == np.int64 and 0 <= labels.min() <= labels.max() < 10

        options = [f'-max_total_time={flags.seconds}', '-max_len=12000', '-timeout=10', '-rss_limit_mb=1000']
        atheris.Setup([sys.argv[0], *options, f'-dict={tokens}', '-print_final_stats=1', corpus], read)
        child = os.fork()  # the fuzzer never returns, and somebody has to delete the folder
        if not child:
            atheris.Fuzz()
        status = os.waitstatus_to_exitcode(os.wait()[1])
    sys.exit(status)


if __name__ == '__main__':
    main()
