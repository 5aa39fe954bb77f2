"""Images that are never the same twice."""

import torch
import torch.nn.functional as F
from torch import nn

from training.batches import send


class Augmentation:
    """Flips images with probability 1/2, shifts each by up to an eighth of its side, blanks a square in it.

    The random numbers are drawn for the whole global batch, so that they do not depend on the number of processes.
    Blank pixels are 0, the mean image.

    Args:
        seed: of the random numbers.
        machine: a TorchMachine.
        border: what a shift brings in: 'constant', blank pixels, or 'reflect', the image's own reflection.
        cutout: side of the square, in pixels of an image of 32 x 32.
    """

    def __init__(self, seed, machine, border='constant', cutout=0):
        self.generator = torch.Generator().manual_seed(seed)
        self.machine, self.border, self.cutout = machine, border, cutout

    def __call__(self, x):
        """A new tensor of x's shape (B, C, H, W), this process's rows of the global batch."""
        B, _, H, W = x.shape
        padding = H // 8
        offsets = 2 * padding + 1
        flipped, top, left, *centre = self._draw(B, 2, offsets, offsets, *([H, W] if self.cutout else []))
        wide = F.pad(x, [padding] * 4, mode=self.border)
        windows = wide.unfold(2, H, 1).unfold(3, W, 1)  # (B, C, 2 padding + 1, 2 padding + 1, H, W)
        x = windows[torch.arange(B, device=x.device), :, top, left]  # (B, C, H, W)
        x = mirrored(x, flipped.bool())
        return self._cut_out(x, *centre, self.cutout * H // 32) if self.cutout else x

    @staticmethod
    def _cut_out(x, row, column, side):
        _, _, H, W = x.shape
        rows = torch.arange(H, device=x.device) - row[:, None] + side // 2  # (B, H)
        columns = torch.arange(W, device=x.device) - column[:, None] + side // 2  # (B, W)
        blank = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None, :]
        return x.masked_fill(blank[:, None], 0)

    def _draw(self, B, *highs):
        """Integers below each of `highs`, (B,), for this process's rows."""
        N = B * self.machine.processes.world_size
        numbers = [torch.randint(high, (N,), generator=self.generator) for high in highs]
        return self._mine(torch.stack(numbers, 1)).unbind(1)

    def _mine(self, numbers):
        """This process's rows of numbers (N, ...), sent to the device in one piece."""
        processes = self.machine.processes
        return send(numbers[processes.rank :: processes.world_size], self.machine.device)

    def state_dict(self):
        return {'generator': self.generator.get_state()}

    def load_state_dict(self, state):
        self.generator.set_state(state['generator'])


AUGMENTATIONS = {'crop': Augmentation}  # by the values of --augment


def make_augmentation(flags, machine, cutout=0):
    """The Augmentation that the flags ask for; by default none."""
    if flags.augment == 'none':
        return nn.Identity()
    return AUGMENTATIONS[flags.augment](flags.seed, machine, cutout=cutout)


def mirrored(x, flipped):
    """The images x (B, C, H, W), those mirrored where flipped (B,) says so."""
    return torch.where(flipped[:, None, None, None], x.flip(3), x)
