"""What the hardware multiplies in silicon."""

import torch


def has_bf16(device):
    """Whether the hardware multiplies bfloat16 matrices in silicon: AVX512-BF16 or AMX, Ampere GPUs or newer."""
    if device.type == 'cuda':
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != 'cpu':
        return False
    return cpu_has('avx512_bf16') or cpu_has('amx_bf16')


def cpu_has(feature):
    """Whether this CPU has 'avx512_bf16', which multiplies bfloat16 vectors, or 'amx_bf16', which does tiles."""
    if hasattr(torch.cpu, 'get_capabilities'):
        return bool(torch.cpu.get_capabilities().get(feature))
    # torch before 2.11
    return {'avx512_bf16': torch.cpu._is_avx512_bf16_supported, 'amx_bf16': torch.cpu._is_amx_tile_supported}[feature]()
