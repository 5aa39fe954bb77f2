"""Loss, accuracy and logits of a whole data set, computed by PyTorch."""

import torch
import torch.nn.functional as F
from torch import nn

GPU_CHUNK = 1000


@torch.no_grad()
def predict_logits(model, data_set, machine, chunk=250, logits_of=None):
    """Logits (N, C) in float32 and labels (N,) of a whole data set, on the CPU.

    Computed in evaluation mode, which is undone afterwards, without drawing a random number. Processes share the rows.
    Question 3's batch normalisation keeps no running statistics: with it alone the logits depend on the other rows of
    the chunk. Small chunks suit a ConvNet on a CPU, whose caches they fit better, large ones an MLP, which reads all
    its weights for each, and a GPU, which has no fewer than GPU_CHUNK at a time.

    Args:
        logits_of: function of the model and images that gives their logits; by default the model's own.
    """
    was_training = model.training
    model.eval()
    try:
        processes = machine.processes
        processes.share_buffers(model)  # each process has running statistics of its own
        resident, logits = machine.resident(data_set), []
        for rows in data_set.chunk_rows(chunk if machine.device.type == 'cpu' else max(chunk, GPU_CHUNK)):
            x, _ = resident.at(slice(rows.start + processes.rank, rows.stop, processes.world_size))
            with machine.autocast():
                out = (logits_of(model, x) if logits_of else model(x)).float()
            logits.append(out.new_zeros(rows.stop - rows.start, out.shape[1]))
            logits[-1][processes.rank :: processes.world_size] = out
        logits = processes.sum(torch.cat(logits))
    finally:
        model.train(was_training)
    return logits.cpu(), torch.from_numpy(data_set.raw[1])  # the one look at the device


def evaluate(model, data_set, machine, chunk=250, logits_of=None):
    """Mean cross entropy and accuracy over the whole set, whatever the size of the chunks."""
    logits, labels = predict_logits(model, data_set, machine, chunk, logits_of)
    return F.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).double().mean().item()


def predict_probabilities(model, data_set, machine, chunk=250):
    """Probabilities (N, C) of a whole data set as a NumPy array; see predict_logits."""
    logits, _ = predict_logits(model, data_set, machine, chunk)
    return logits.softmax(1).numpy()


def first_filters(model):
    """The filters (n, 3, h, w) of the first convolution of images in colour as a NumPy array, or None without one."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            return layer.weight.detach().float().cpu().numpy() if layer.weight.shape[1] == 3 else None
    return None
