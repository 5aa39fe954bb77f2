"""Logits averaged over several views of each image."""

import torch
import torch.nn.functional as F


def with_mirror_image(model, x):
    """The mean logits (B, n_classes) of the images x (B, 3, H, W) and their mirror images, in float32."""
    return (model(x).float() + model(x.flip(3)).float()) / 2


def six_views(model, x):
    """Logits of the images x (B, 3, H, W), and their mean over six views of each: (B, n_classes) both, in float32.

    The views are the image, with weight 1/2, and its shifts by (-1, -1) and (1, 1), each with its mirror image.

    Source: airbench94, Keller Jordan, https://github.com/KellerJordan/cifar10-airbench.
    """
    border = F.pad(x, [1] * 4, mode='reflect')
    views = torch.cat([x, border[..., :-2, :-2], border[..., 2:, 2:]])
    direct, mirrored = (model(v).float().unflatten(0, (3, len(x))) for v in (views, views.flip(3)))
    weights = torch.tensor([1 / 2, 1 / 4, 1 / 4], device=x.device).view(3, 1, 1)
    return direct[0], (weights * (direct + mirrored) / 2).sum(0)


def mean_of_six_views(model, x):
    """The second of six_views."""
    return six_views(model, x)[1]
