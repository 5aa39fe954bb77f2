"""The command, versions and hardware that a run is repeated with."""

import os
import platform
import shlex
import sys
from pathlib import Path

import numpy as np


def command(flags, processes=1):
    """The shortest command line, from the root of the repo, that gives these flags in as many processes."""
    script, root = Path(flags.script).resolve(), Path(__file__).resolve().parent.parent
    words = ['python'] if processes == 1 else ['torchrun', '--nproc_per_node', f'{processes}']
    words += [(script.relative_to(root) if script.is_relative_to(root) else Path(script.name)).as_posix()]
    for name, value in vars(flags).items():
        if value not in (None, flags.defaults[name]) and name not in ('resume', 'overwrite'):
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
