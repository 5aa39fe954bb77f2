"""Batches made on the device, from images that lie there as bytes."""

import sys

import numpy as np
import torch
from tqdm import tqdm


def send(tensor, device):
    """The tensor on the device; a GPU fetches it from pinned memory by itself, and nobody waits."""
    if device.type == 'cuda' and tensor.device.type == 'cpu':
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def place(images, device):
    """The images on the device; where they are, if a GPU would give them more than half of the memory it has left."""
    if device.type == 'cuda' and images.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        size = f'{images.nbytes / 1e9:.1f} GB of images'
        tqdm.write(f'{size} do not fit on {device}: they stay in main memory, which takes longer', file=sys.stderr)
        return images
    return images.to(device)


class Resident:
    """The images and labels of a DataSet on a device; on a CPU they are the same memory, not a copy.

    Normalises with DataSet's arithmetic, so that both have the same bits on a CPU.

    Args:
        data_set: a DataSet, to which no reference is kept.
        device: torch.device.
    """

    def __init__(self, data_set, device):
        images, labels = (torch.from_numpy(np.require(array, requirements=['C', 'W'])) for array in data_set.raw)
        self.device, self.images = device, place(images, device)
        self.labels = labels.to(self.images.device)
        self.mean_image = torch.from_numpy(data_set.mean_image).to(device)
        self.std = None if data_set.std is None else torch.from_numpy(data_set.std).to(device)

    def raw_at(self, rows):
        """Images as they are, uint8 (n, 3, 32, 32), and labels, int64 (n,), at these rows of the file order.

        Args:
            rows: int64 (n,), a NumPy array, or a slice, which sends nothing.
        """
        if isinstance(rows, slice):
            x, y = self.images[rows], self.labels[rows]
        else:
            rows = send(torch.from_numpy(rows), self.images.device)
            x, y = self.images.index_select(0, rows), self.labels.index_select(0, rows)
        return send(x, self.device), send(y, self.device)

    def at(self, rows):
        """As raw_at, but the images normalised, float32."""
        x, y = self.raw_at(rows)
        x = x.float()
        x -= self.mean_image
        if self.std is not None:
            x /= self.std
        return x, y
