"""Losses against labels sampled from the network's own output, whose gradients give its Fisher information.

No labels are needed, and the second moment of the gradient is that under the model's distribution (Martens 2014, "New
insights and perspectives on the natural gradient method", §9).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def project_outputs(outputs: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random projection of outputs of any shape.

    Its gradient has the second moment of that of the squared error against targets that are sampled from a normal
    distribution around the outputs.

    Args:
        outputs: Outputs of any shape.
        generator: Random generator on the CPU.
    """
    noise = torch.randn(outputs.shape, generator=generator).to(outputs)
    return (outputs * noise).sum()


def sampled_pixel_cross_entropy(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Return the cross entropy against one class per pixel, sampled from the softmax.

    Args:
        logits: ``(batch, classes, height, width)``. Outputs of any other shape, such as the feature maps of further
            heads, are projected, see :func:`project_outputs`.
        generator: Random generator on the CPU.

    Returns:
        The sum over the images of the mean over their pixels.
    """
    if logits.dim() != 4:
        return project_outputs(logits, generator)
    rows = logits.movedim(1, -1).flatten(0, -2)
    return sampled_cross_entropy(rows, generator) / logits[0, 0].numel()


def sampled_cross_entropy(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Return the cross entropy against one class per image, sampled from the softmax; summed over the images.

    Args:
        logits: ``(batch, classes)``. Outputs of any other shape are projected, see :func:`project_outputs`.
        generator: Random generator on the CPU.
    """
    if not is_row_of_scores(logits):
        return project_outputs(logits, generator)
    probabilities = logits.detach().float().softmax(1).cpu()
    labels = torch.multinomial(probabilities, 1, generator=generator).squeeze(1).to(logits.device)
    return functional.cross_entropy(logits.float(), labels, reduction="sum")


def sampled_binary_cross_entropy(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Return the binary cross entropy against labels sampled from the sigmoid; summed over images and classes.

    Args:
        logits: ``(batch, classes)``. Outputs of any other shape are projected, see :func:`project_outputs`.
        generator: Random generator on the CPU.
    """
    if not is_row_of_scores(logits):
        return project_outputs(logits, generator)
    labels = torch.bernoulli(logits.detach().float().sigmoid().cpu(), generator=generator).to(logits.device)
    return functional.binary_cross_entropy_with_logits(logits.float(), labels, reduction="sum")


def is_row_of_scores(outputs: Tensor) -> bool:
    """Return whether outputs are one row of class scores per image, ``(batch, classes)``."""
    return outputs.dim() == 2 and outputs.shape[1] > 1
