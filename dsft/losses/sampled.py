"""Losses against labels sampled from the network's own output, whose gradients give its Fisher information.

No labels are needed, and the second moment of the gradient is that under the model's distribution (Martens 2014, "New
insights and perspectives on the natural gradient method", §9).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def sampled_cross_entropy(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Return the cross entropy against one class per image, sampled from the softmax; summed over the images.

    Args:
        logits: ``(batch, classes)``.
        generator: Random generator on the CPU.
    """
    probabilities = logits.detach().float().softmax(1).cpu()
    labels = torch.multinomial(probabilities, 1, generator=generator).squeeze(1).to(logits.device)
    return functional.cross_entropy(logits.float(), labels, reduction="sum")


def sampled_binary_cross_entropy(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Return the binary cross entropy against labels sampled from the sigmoid; summed over images and classes.

    Args:
        logits: ``(batch, classes)``.
        generator: Random generator on the CPU.
    """
    labels = torch.bernoulli(logits.detach().float().sigmoid().cpu(), generator=generator).to(logits.device)
    return functional.binary_cross_entropy_with_logits(logits.float(), labels, reduction="sum")
