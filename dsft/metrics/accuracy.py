"""Top-k accuracy."""

from __future__ import annotations

import torch
from torch import Tensor


def topk_accuracy(logits: Tensor, targets: Tensor, k: int) -> float:
    """Return the percentage of images whose class is among the ``k`` highest logits.

    Ties are broken by class number, so that ``k=1`` agrees with ``argmax`` and constant logits do not count as correct.
    With ``k`` at or above the number of classes the result is 100.

    Args:
        logits: Scores ``(images, classes)``.
        targets: Class numbers ``(images,)``.
        k: Number of highest logits, at least 1.

    Returns:
        A percentage, 0 to 100.
    """
    own = logits.gather(1, targets[:, None])
    numbers = torch.arange(logits.shape[1], device=logits.device)
    ahead = (logits > own) | ((logits == own) & (numbers < targets[:, None]))
    return 100.0 * (ahead.sum(dim=1) < k).double().mean().item()
