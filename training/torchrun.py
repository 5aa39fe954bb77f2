"""The processes that train together: torchrun --nproc_per_node N train_*.py ...

They draw the same global batch order and each takes every N-th row of it, so that an epoch sees each example once and
the averaged gradients are those of the whole batch.
"""

import torch
import torch.distributed as dist
from torch import nn

from training.errors import RunError
from training.processes import Alone, told


class Together(Alone):
    """One of several processes; what Alone answers itself, all are asked, each at the same place of its program."""

    def __init__(self):
        self.rank, self.world_size = told('RANK', 0), told('WORLD_SIZE', 1)

    def meet(self, device):
        if dist.is_initialized():
            return
        try:
            dist.init_process_group('cpu:gloo,cuda:nccl' if device.type == 'cuda' else 'gloo')
        except (ValueError, dist.DistError) as error:
            reason = ' '.join(str(error).split())
            remedy = 'start them with torchrun --nproc_per_node, or unset WORLD_SIZE to train alone'
            raise RunError(f'the {self.world_size} processes do not find each other ({reason}): {remedy}') from error

    def wait_for_all(self):
        dist.barrier()

    def gather(self, value):
        values = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def largest(self, number):
        numbers = torch.tensor(number)
        dist.all_reduce(numbers, dist.ReduceOp.MAX)
        return numbers.item()

    def mean(self, values):
        return self.sum(values) / self.world_size

    def sum(self, values):
        dist.all_reduce(values)
        return values

    def share_buffers(self, model):
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)

    def parallel(self, model):
        torch.manual_seed(torch.initial_seed() + self.rank)
        network = nn.parallel.DistributedDataParallel(model)
        # It orders gradients anew after the first backward pass. Were that step 1, a resumed run would add them up in
        # another order there.
        model.eval()
        network(torch.zeros(2, 3, 32, 32, device=next(model.parameters()).device)).sum().backward()
        model.train()
        model.zero_grad()
        return network
