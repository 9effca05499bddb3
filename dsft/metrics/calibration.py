"""Whether a network's probabilities mean what they say."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def negative_log_likelihood(logits: Tensor, targets: Tensor) -> float:
    """Return the mean of ``-log p(true class)``: the cross entropy without smoothing, in nats.

    Args:
        logits: Scores ``(images, classes)``.
        targets: Class numbers ``(images,)``.
    """
    return functional.cross_entropy(logits.double(), targets).item()


def expected_calibration_error(logits: Tensor, targets: Tensor, bins: int = 15) -> float:
    """Return how far confidence and accuracy lie apart on average.

    Guo et al. 2017 (On Calibration of Modern Neural Networks, equation 3): images are put into ``bins``
    intervals ``((m - 1) / bins, m / bins]`` of their highest probability; the error is the mean over the
    intervals, weighted by their images, of ``|accuracy - confidence|``.

    Args:
        logits: Scores ``(images, classes)``.
        targets: Class numbers ``(images,)``.
        bins: Number of intervals.

    Returns:
        A fraction, 0 (calibrated) to 1.
    """
    confidence = logits.double().softmax(dim=1).amax(dim=1)
    right = (logits.argmax(dim=1) == targets).double()
    interval = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = torch.zeros(bins, dtype=torch.float64, device=logits.device)
    gap.index_add_(0, interval, right - confidence)
    return gap.abs().sum().item() / len(targets)
