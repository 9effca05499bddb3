"""Calibration of predicted probabilities: reliability, proper scores and temperature scaling."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

BINS = 15
"""Number of confidence bins, as in Guo et al. 2017."""

TEMPERATURES = (0.05, 20.0)
"""Bounds of a fitted temperature."""

_BISECTIONS = 60


@dataclass(frozen=True)
class Reliability:
    """Accuracy by confidence, in bins ``((m - 1) / bins, m / bins]``.

    Attributes:
        counts: Number of predictions in each bin.
        confidence: Mean confidence in each bin, a fraction; 0 in an empty bin.
        accuracy: Fraction of correct predictions in each bin; 0 in an empty bin.
    """

    counts: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]

    @property
    def error(self) -> float:
        """Expected calibration error, a fraction: the mean gap of confidence and accuracy (Guo et al. 2017, eq. 3)."""
        rows = zip(self.counts, self.confidence, self.accuracy, strict=True)
        return sum(count * abs(right - sure) for count, sure, right in rows) / sum(self.counts)


def negative_log_likelihood(logits: Tensor, targets: Tensor) -> float:
    """Return the mean of ``-log p(true class)``, in nats: the cross entropy without label smoothing.

    Args:
        logits: Scores ``(images, classes)``.
        targets: Class numbers ``(images,)``.
    """
    return functional.cross_entropy(logits.double(), targets).item()


def brier_score(logits: Tensor, targets: Tensor) -> float:
    """Return the mean squared error of the probabilities, summed over the classes.

    It is between 0 and 2, the score of predictions that are always wrong with probability 1 (Brier 1950, "Verification
    of Forecasts Expressed in Terms of Probability", eq. 2).

    Args:
        logits: Scores ``(images, classes)``.
        targets: Class numbers ``(images,)``.
    """
    probabilities = logits.double().softmax(dim=1)
    # sum over k of (p_k - [k = target])^2, without the one-hot matrix.
    own = probabilities.gather(1, targets[:, None]).squeeze(1)
    return (probabilities.square().sum(dim=1) - 2 * own + 1).mean().item()


def reliability(logits: Tensor, targets: Tensor, bins: int = BINS) -> Reliability:
    """Return the accuracy by the highest predicted probability.

    Args:
        logits: Scores ``(images, classes)``.
        targets: Class numbers ``(images,)``.
        bins: Number of bins of equal width.
    """
    confidence = logits.double().softmax(dim=1).amax(dim=1)
    return bin_by_confidence(confidence, logits.argmax(dim=1) == targets, bins)


def bin_by_confidence(confidence: Tensor, right: Tensor, bins: int = BINS) -> Reliability:
    """Bin predictions by confidence.

    Args:
        confidence: Confidence of each prediction ``(predictions,)``, float64.
        right: Whether each is correct ``(predictions,)``, bool.
        bins: Number of bins of equal width.
    """
    interval = (confidence * bins).ceil().long().clamp(1, bins) - 1
    counts = torch.bincount(interval, minlength=bins)
    sums = torch.zeros(2, bins, dtype=torch.float64, device=confidence.device)
    sums.index_add_(1, interval, torch.stack([confidence, right.double()]))
    mean_confidence, accuracy = (sums / counts.clamp(min=1)).tolist()
    return Reliability(tuple(counts.tolist()), tuple(mean_confidence), tuple(accuracy))


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """Return the temperature that minimises the negative log-likelihood of ``logits / temperature``.

    Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks", §4.2). The negative log-likelihood
    is convex in ``1 / temperature``. Its derivative, the mean of ``E_p[logit] - logit of the true class``, is
    increasing, and its root is found by bisection. If all images are classified correctly, or predictions are worse
    than chance, there is no root, and the nearer of :data:`TEMPERATURES` is returned.

    Args:
        logits: Scores ``(images, classes)``, of images used neither for training nor for evaluation.
        targets: Class numbers ``(images,)``.
    """
    logits = logits.double()
    own = logits.gather(1, targets[:, None]).squeeze(1)

    def slope(inverse: float) -> Tensor:
        return (((logits * inverse).softmax(dim=1) * logits).sum(dim=1) - own).mean()

    return bisect_temperature(slope)


def bisect_temperature(slope: Callable[[float], Tensor]) -> float:
    """Return the temperature at which the derivative of a convex loss is 0, or the nearer bound.

    Args:
        slope: The derivative as an increasing function of ``1 / temperature``; a scalar.
    """
    # In log(1 / temperature), whose bounds are those of the temperature in reverse order.
    low, high = (-math.log(temperature) for temperature in reversed(TEMPERATURES))
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(math.exp(middle)) < 0 else (low, middle)
    return math.exp(-(low + high) / 2)
