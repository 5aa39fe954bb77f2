"""Where PyTorch computes: device, precision, and the processes that train together."""

import ctypes
import io
import sys
import time
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from training.batches import Resident
from training.convolution import use_matrix_products
from training.errors import UsageError
from training.files import checked_archive
from training.hardware import fastest_precision, find_device
from training.numpy_machine import numpy_random_state, set_numpy_random_state
from training.processes import Alone, told
from training.torchrun import Together

# A GPU that is asked for a number has to finish first all that it was given to do.
READ_EVERY = 50


class TorchMachine:
    """A device, its precision, and the processes that train together.

    Attributes:
        device: torch.device.
        precision: 'fp32', 'bf16' or 'fp16'.
        processes: Together, or Alone.
        started: time at which the run began, by time.perf_counter.
        checkpoint: name of the file that holds the state of a run.
        read_every: steps after which scalars are read.
    Raises:
        UsageError: if the device or the precision is not to be had, or batch_size is no multiple of the processes.
        RunError: if the processes do not find each other.
    """

    checkpoint, read_every = 'checkpoint.pt', READ_EVERY

    def __init__(self, flags):
        self.started = time.perf_counter()
        self.processes = Together() if told('WORLD_SIZE', 1) > 1 else Alone()
        self.device = find_device(flags.device, self.processes.world_size)
        self.precision = self._precision(flags.precision)
        torch.backends.cudnn.allow_tf32 = self.precision != 'fp32'  # it would round float32 to 10 bits
        torch.backends.cudnn.deterministic = True  # a resumed run reaches the same bits
        n = self.processes.world_size
        if flags.batch_size % n:
            raise UsageError(f'--batch_size must be a multiple of the {n} processes: {flags.batch_size}')
        self.processes.meet(self.device)
        self._resident = WeakKeyDictionary()

    def __str__(self):
        n = self.processes.world_size
        processes = f', {n} processes' if n > 1 else ''
        return f'{self.device.type} in {self.precision}{processes}'

    def _precision(self, name):
        if name == 'fp16' and self.device.type == 'mps':
            raise UsageError('--precision fp16 is for cuda and cpu, not for mps: take bf16 or fp32')
        return name if name != 'auto' else fastest_precision(self.device)

    @property
    def compute(self):
        """What the numbers of a run depend on besides its flags."""
        return {'device': self.device.type, 'precision': self.precision, 'processes': self.processes.world_size}

    @property
    def dtype(self):
        """In which the factors of matrix products are."""
        return {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}[self.precision]

    def autocast(self):
        """Context in which matrix products are computed in this machine's precision."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.precision != 'fp32')

    def scaler(self):
        """What scales the loss, as float16 would lose small gradients, and its gradients back; else it does nothing."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == 'fp16')

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

    def next_batch(self, data_set, batch_size):
        """This process's rows of the next global batch, on its device: images (B, 3, 32, 32) and labels (B,)."""
        rows = data_set.next_rows(batch_size, self.processes.rank, self.processes.world_size)
        return self.resident(data_set).at(rows)

    def resident(self, data_set):
        """The DataSet's images on the device, where they come with the first use."""
        if data_set not in self._resident:
            self._resident[data_set] = Resident(data_set, self.device)
        return self._resident[data_set]

    def kept(self, value):
        """A scalar as it can be kept until it is read: without the graph that has led to it."""
        return torch.as_tensor(value, dtype=torch.float32, device=self.device).detach()

    def read(self, figures):
        """What was kept, as floats, the means over the processes: one look at the device, however many they are."""
        return self.processes.mean(torch.stack(figures)).tolist()

    def random_state(self):
        """The states of NumPy's and torch's random numbers; torch's for every process, since they differ."""
        torch_states = {'cpu': torch.get_rng_state()}
        if self.device.type != 'cpu':
            torch_states['device'] = getattr(torch, self.device.type).get_rng_state()
        return {'numpy': numpy_random_state(), 'torch': self.processes.gather(torch_states)}

    def set_random_state(self, state):
        set_numpy_random_state(state['numpy'])
        states = state['torch'][self.processes.rank]
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
