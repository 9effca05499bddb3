"""The loss against labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def soft_cross_entropy(logits: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross entropy of logits against hard or soft labels.

    Label smoothing as in Szegedy et al. 2016 (Rethinking the Inception Architecture, equation 7): the
    label keeps ``1 - smoothing``, the rest is spread evenly over all classes.

    Args:
        logits: Scores ``(batch, classes)``; half precision is computed in float32.
        targets: Class numbers ``(batch,)`` of an integer type, or probabilities ``(batch, classes)``.
        smoothing: Share of each label that is spread, 0 to 1.

    Returns:
        A scalar, in nats.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if targets.is_floating_point():
        targets = targets.to(logits.dtype)
    return functional.cross_entropy(logits, targets, label_smoothing=smoothing)
