"""The device that a process computes on, and what it multiplies in silicon."""

import torch

from training.errors import UsageError
from training.processes import told


def find_device(name, n_processes):
    """The device of this process by a name that torch gives its kind, or 'auto'.

    Raises:
        UsageError: if it is not there for each of the processes.
    """
    found = {
        'cuda': torch.cuda.device_count() >= told('LOCAL_WORLD_SIZE', 1),  # the same answer for all
        'mps': torch.backends.mps.is_available() and n_processes == 1,  # it cannot average over processes
        'cpu': True,
    }
    if name == 'auto':
        name = next(n for n in found if found[n])
    if not found[name]:
        raise UsageError(f'--device {name} is not to be had for each process here; auto takes what there is')
    if name != 'cuda':
        return torch.device(name)
    local_rank = told('LOCAL_RANK', 0)
    torch.cuda.set_device(local_rank)
    return torch.device('cuda', local_rank)


def fastest_precision(device):
    """The precision in which the hardware multiplies matrices fastest and networks still learn.

    'bf16' where silicon multiplies bfloat16: AVX512-BF16 or AMX, Ampere GPUs or newer; 'fp16' on the GPUs before them
    that multiply float16 in silicon, Volta and Turing; 'fp32' elsewhere.
    """
    if device.type == 'cuda':
        capability = torch.cuda.get_device_capability(device)
        return 'bf16' if capability >= (8, 0) else 'fp16' if capability >= (7, 0) else 'fp32'
    has_bf16 = device.type == 'cpu' and (cpu_has('avx512_bf16') or cpu_has('amx_bf16'))
    return 'bf16' if has_bf16 else 'fp32'


def cpu_has(feature):
    """Whether this CPU has 'avx512_bf16', which multiplies bfloat16 vectors, or 'amx_bf16', which does tiles."""
    if hasattr(torch.cpu, 'get_capabilities'):
        return bool(torch.cpu.get_capabilities().get(feature))
    # torch before 2.11
    return {'avx512_bf16': torch.cpu._is_avx512_bf16_supported, 'amx_bf16': torch.cpu._is_amx_tile_supported}[feature]()
