"""How often the true class is among the best guesses."""

from __future__ import annotations

import torch
from torch import Tensor


def topk_accuracy(logits: Tensor, targets: Tensor, k: int) -> float:
    """Return the percentage of images whose class is among the ``k`` highest logits.

    Equal logits rank by class number, so that ``k=1`` agrees with ``argmax`` and a network whose logits
    are all alike gets no credit for it. With ``k`` at or above the number of classes it is 100.

    Args:
        logits: Scores ``(images, classes)``.
        targets: Class numbers ``(images,)``.
        k: How many guesses count, at least 1.

    Returns:
        0 to 100.
    """
    own = logits.gather(1, targets[:, None])
    numbers = torch.arange(logits.shape[1], device=logits.device)
    ahead = (logits > own) | ((logits == own) & (numbers < targets[:, None]))
    return 100.0 * (ahead.sum(dim=1) < k).double().mean().item()
