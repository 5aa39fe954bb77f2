"""What the hardware multiplies in silicon."""

import torch


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
