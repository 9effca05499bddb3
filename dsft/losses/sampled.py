"""The loss against labels that are drawn from a network's own answers: what its Fisher information is made of.

Martens 2014 (New insights and perspectives on the natural gradient method, section 9): no labels are needed, and the
gradient's second moment is that of the network's own distribution.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def sampled_cross_entropy(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Return the cross entropy against one class an image, drawn from the softmax; summed over the images.

    Args:
        logits: ``(batch, classes)``.
        generator: Of the draw, on the CPU.
    """
    chances = logits.detach().float().softmax(1).cpu()
    labels = torch.multinomial(chances, 1, generator=generator).squeeze(1).to(logits.device)
    return functional.cross_entropy(logits.float(), labels, reduction="sum")


def sampled_binary_cross_entropy(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Return the binary cross entropy against labels each drawn from its sigmoid; summed over images and classes.

    Args:
        logits: ``(batch, classes)``.
        generator: Of the draw, on the CPU.
    """
    labels = torch.bernoulli(logits.detach().float().sigmoid().cpu(), generator=generator).to(logits.device)
    return functional.binary_cross_entropy_with_logits(logits.float(), labels, reduction="sum")
