"""Where PyTorch computes: device, precision, and the processes that train together.

Several processes (`torchrun --nproc_per_node N train_*.py ...`) draw the same global batch order and each takes every
N-th row of it, so that an epoch sees each example once and the averaged gradients are those of the whole batch.
"""

import ctypes
import io
import os
import sys
import time

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from training.convolution import use_matrix_products
from training.errors import RunError, UsageError
from training.files import checked_archive
from training.hardware import has_bf16
from training.numpy_machine import numpy_random_state, set_numpy_random_state


class TorchMachine:
    """A device, its precision, and this process's place among those that train together.

    Attributes:
        device: torch.device.
        precision: 'fp32' or 'bf16'.
        rank, world_size: number of this process, and of all.
        started: time at which the run began, by time.perf_counter.
        checkpoint: name of the file that holds the state of a run.
    Raises:
        UsageError: if the device is not there, or batch_size is no multiple of world_size.
        RunError: if the processes do not find each other.
    """

    checkpoint = 'checkpoint.pt'

    def __init__(self, flags):
        self.started = time.perf_counter()
        self.rank, self.world_size = int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))
        self.local_rank = int(os.environ.get('LOCAL_RANK', 0))
        self.device = self._device(flags.device)
        self.precision = self._precision(flags.precision)
        torch.backends.cudnn.allow_tf32 = self.precision != 'fp32'  # it would round float32 to 10 bits
        torch.backends.cudnn.deterministic = True  # a resumed run reaches the same bits
        if flags.batch_size % self.world_size:
            raise UsageError(f'--batch_size must be a multiple of the {self.world_size} processes: {flags.batch_size}')
        if self.world_size > 1 and not dist.is_initialized():
            self._meet_the_others()

    def __str__(self):
        processes = f', {self.world_size} processes' if self.world_size > 1 else ''
        return f'{self.device.type} in {self.precision}{processes}'

    def _meet_the_others(self):
        try:
            dist.init_process_group('nccl' if self.device.type == 'cuda' else 'gloo')
        except (ValueError, dist.DistError) as error:
            reason = ' '.join(str(error).split())
            remedy = 'start them with torchrun --nproc_per_node, or unset WORLD_SIZE to train alone'
            raise RunError(f'the {self.world_size} processes do not find each other ({reason}): {remedy}') from error

    def _device(self, name):
        found = {
            'cuda': torch.cuda.device_count() >= int(os.environ.get('LOCAL_WORLD_SIZE', 1)),  # the same answer for all
            'mps': torch.backends.mps.is_available() and self.world_size == 1,  # it cannot average over processes
            'cpu': True,
        }
        if name == 'auto':
            name = next(n for n in found if found[n])
        if not found[name]:
            raise UsageError(f'--device {name} is not to be had for each process here; auto takes what there is')
        if name != 'cuda':
            return torch.device(name)
        torch.cuda.set_device(self.local_rank)
        return torch.device('cuda', self.local_rank)

    def _precision(self, name):
        return name if name != 'auto' else 'bf16' if has_bf16(self.device) else 'fp32'

    @property
    def compute(self):
        """What the numbers of a run depend on besides its flags."""
        return {'device': self.device.type, 'precision': self.precision, 'processes': self.world_size}

    def autocast(self):
        """Context in which matrix products are computed in this machine's precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == 'bf16')

    @property
    def memory_format(self):
        """How images lie in memory: oneDNN and cuDNN convolve fastest with the channels innermost."""
        return torch.contiguous_format if self.device.type == 'mps' else torch.channels_last

    def place(self, model):
        """The model on this device, its convolutions as fast as it has them."""
        if self.device.type == 'cpu' and any(isinstance(layer, nn.Conv2d) for layer in model.modules()):
            reuse_freed_memory()
            use_matrix_products(model)
        return model.to(self.device, memory_format=self.memory_format)

    def parallel(self, model):
        """The model, with gradients averaged over the processes where there are several; each drops other units.

        Args:
            model: of images (B, 3, 32, 32).
        """
        if self.world_size == 1:
            return model
        torch.manual_seed(torch.initial_seed() + self.rank)
        network = nn.parallel.DistributedDataParallel(model)
        # It orders gradients anew after the first backward pass. Were that step 1, a resumed run would add them up in
        # another order there.
        model.eval()
        network(torch.zeros(2, 3, 32, 32, device=self.device)).sum().backward()
        model.train()
        model.zero_grad()
        return network

    def next_batch(self, data_set, batch_size):
        """This process's rows of the next global batch, on its device: images (B, 3, 32, 32) and labels (B,)."""
        x, y = data_set.next_batch(batch_size, self.rank, self.world_size)
        return torch.from_numpy(x).to(self.device), torch.from_numpy(y).to(self.device)

    def mean(self, *values):
        """The means of scalars over the processes, as floats."""
        scalars = [torch.as_tensor(value, dtype=torch.float32, device=self.device) for value in values]
        values = torch.stack(scalars).detach()
        if self.world_size > 1:
            dist.all_reduce(values)
            values /= self.world_size
        return values.tolist()

    def wait_for_all(self):
        """Waits until every process has come here."""
        if self.world_size > 1:
            dist.barrier()

    def check_same_step(self, step):
        """Raises RunError if another process has restored another step."""
        steps = [step] * self.world_size
        if self.world_size > 1:
            dist.all_gather_object(steps, step)
        if set(steps) != {step}:
            raise RunError('the processes have read different checkpoints: they must share the folder --out_dir')

    def random_state(self):
        """The states of NumPy's and torch's random numbers; torch's for every process, since they differ."""
        torch_states = {'cpu': torch.get_rng_state()}
        if self.device.type != 'cpu':
            torch_states['device'] = getattr(torch, self.device.type).get_rng_state()
        states = [torch_states] * self.world_size
        if self.world_size > 1:
            dist.all_gather_object(states, torch_states)
        return {'numpy': numpy_random_state(), 'torch': states}

    def set_random_state(self, state):
        set_numpy_random_state(state['numpy'])
        states = state['torch'][self.rank]
        torch.set_rng_state(states['cpu'])
        if 'device' in states:
            getattr(torch, self.device.type).set_rng_state(states['device'])

    def dump(self, state):
        """A nested dict of tensors, arrays, numbers and strings as the bytes of a .pt file."""
        file = io.BytesIO()
        torch.save(_with_tensors(state), file)
        return file.getvalue()

    @staticmethod
    def load(path):
        """What dump wrote, as tensors, numbers, strings and containers of them: nothing in it can run."""
        # torch.load itself does not look at the checksums
        return torch.load(checked_archive(path), map_location='cpu', weights_only=True)


def _with_tensors(state):
    """The nested dict with tensors in the place of NumPy's arrays, which only a pickle could hold."""
    if isinstance(state, np.ndarray):
        return torch.from_numpy(state)
    return {name: _with_tensors(value) for name, value in state.items()} if type(state) is dict else state


def reuse_freed_memory():
    """Makes glibc keep what is freed for the next step: asking for each large tensor anew costs a CPU up to 15 %."""
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if sys.platform == 'linux' else None
    if mallopt:
        M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
