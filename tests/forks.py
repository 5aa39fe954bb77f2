"""Training scripts as processes of their own that start at once: forked from one that has torch loaded.

What Python does before a script's first line, and what a shell or torchrun adds, they do not show.
"""

import importlib
import multiprocessing
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ['train_mlp_numpy', 'train_mlp_pytorch', 'train_convnet_pytorch']


def spared():
    """What takes most of a run's time: drawing figures, and the ConvNet's width. Places and what to put there."""
    for name in ('draw_curves', 'draw_predictions', 'draw_filters'):
        yield f'training.plots.{name}', lambda *args: None
    layers = importlib.import_module('convnet_pytorch').LAYERS
    yield 'convnet_pytorch.LAYERS', [n if n == 'M' else n // 16 for n in layers]


def server():
    """The context whose processes are forked from a server, which is started with the first of them."""
    context = multiprocessing.get_context('forkserver')
    os.environ['PYTHONPATH'] = os.pathsep.join(map(str, (ROOT, ROOT / 'tests')))  # where the server finds the modules
    context.set_forkserver_preload(['forks', 'torch._dynamo', *SCRIPTS])
    return context


def run(script, args, environment, output):
    """What a forked process does: the script's last lines, spared what `spared` says."""
    for number, name in (1, 'stdout'), (2, 'stderr'):
        file = os.open(f'{output}/{name}', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
    os.environ.update(environment)
    sys.argv = [str(ROOT / f'{script}.py'), *args]
    module = importlib.import_module(script)
    for place, value in spared():
        where, name = place.rsplit('.', 1)
        setattr(sys.modules[where], name, value)
    module.run_script(module.train, module.parse_flags(args))


class Fork:
    """A run of a training script, with what subprocess.Popen offers; on leaving a `with` it has ended.

    Attributes:
        pid: of the process.
        returncode: exit status, or the negative number of the signal that has killed it; None while it runs.
        out, err: what it has written, as text, once it has been waited for.
    """

    def __init__(self, script, *args, environment=None):
        self.folder, self.out, self.err = Path(tempfile.mkdtemp()), '', ''
        arguments = script, [str(arg) for arg in args], environment or {}, str(self.folder)
        self.process = server().Process(target=run, args=arguments, daemon=True)
        self.process.start()
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if exception[0]:
            self.process.kill()
        self.wait()

    @property
    def returncode(self):
        return self.process.exitcode

    def poll(self):
        return self.process.exitcode

    def wait(self, timeout=120):
        """Waits for the end, and returns the exit status."""
        self.process.join(timeout)
        if self.process.is_alive():
            self.process.kill()
            raise TimeoutError(f'{self.pid} runs after {timeout} s')
        if self.folder.exists():
            self.out, self.err = ((self.folder / name).read_text() for name in ('stdout', 'stderr'))
            shutil.rmtree(self.folder)
        return self.returncode

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        self.process.kill()


def together(n, script, *args):
    """The same run in n processes that train together, in order of their rank."""
    with socket.create_server(('127.0.0.1', 0)) as probe:
        port = probe.getsockname()[1]
    shared = {'WORLD_SIZE': f'{n}', 'LOCAL_WORLD_SIZE': f'{n}', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': f'{port}'}
    if sys.platform.startswith('linux'):
        shared['GLOO_SOCKET_IFNAME'] = 'lo'
    ranks = [{'RANK': f'{rank}', 'LOCAL_RANK': f'{rank}'} for rank in range(n)]
    return [Fork(script, *args, environment=shared | rank) for rank in ranks]
