"""Whether a network's probabilities mean what they say."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

BINS = 15
"""Intervals of confidence, as in Guo et al. 2017."""

TEMPERATURES = (0.05, 20.0)
"""Least and greatest temperature that is fitted."""

_BISECTIONS = 60


@dataclass(frozen=True)
class Reliability:
    """How often a network is right when it is so sure, by intervals ``((m - 1) / bins, m / bins]`` of confidence.

    Attributes:
        counts: Images whose highest probability is in each interval.
        confidence: Mean highest probability of each interval's images, a fraction; 0 where there is none.
        accuracy: Share of them that is right, a fraction; 0 where there is none.
    """

    counts: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]

    @property
    def error(self) -> float:
        """Expected calibration error (Guo et al. 2017, equation 3): the mean gap, weighted by images, a fraction."""
        rows = zip(self.counts, self.confidence, self.accuracy, strict=True)
        return sum(count * abs(right - sure) for count, sure, right in rows) / sum(self.counts)


def negative_log_likelihood(logits: Tensor, targets: Tensor) -> float:
    """Return the mean of ``-log p(true class)``: the cross entropy without smoothing, in nats.

    Args:
        logits: Scores ``(images, classes)``.
        targets: Class numbers ``(images,)``.
    """
    return functional.cross_entropy(logits.double(), targets).item()


def brier_score(logits: Tensor, targets: Tensor) -> float:
    """Return the mean squared distance between the probabilities and the truth, summed over the classes.

    Brier 1950 (Verification of Forecasts Expressed in Terms of Probability, equation 2): 0 is perfect, 2 is sure and
    wrong every time.

    Args:
        logits: Scores ``(images, classes)``.
        targets: Class numbers ``(images,)``.
    """
    probabilities = logits.double().softmax(dim=1)
    # sum over k of (p_k - [k = target])^2, without the one-hot matrix.
    own = probabilities.gather(1, targets[:, None]).squeeze(1)
    return (probabilities.square().sum(dim=1) - 2 * own + 1).mean().item()


def reliability(logits: Tensor, targets: Tensor, bins: int = BINS) -> Reliability:
    """Sort images by how sure the network is, and count how often it is right.

    Args:
        logits: Scores ``(images, classes)``.
        targets: Class numbers ``(images,)``.
        bins: Number of intervals of equal width.
    """
    confidence = logits.double().softmax(dim=1).amax(dim=1)
    return sort_into_bins(confidence, logits.argmax(dim=1) == targets, bins)


def sort_into_bins(confidence: Tensor, right: Tensor, bins: int = BINS) -> Reliability:
    """Sort answers into intervals of confidence of equal width.

    Args:
        confidence: Probability of each answer ``(answers,)``, float64.
        right: Whether each is right ``(answers,)``, bool.
        bins: Number of intervals.
    """
    interval = (confidence * bins).ceil().long().clamp(1, bins) - 1
    counts = torch.bincount(interval, minlength=bins)
    sums = torch.zeros(2, bins, dtype=torch.float64, device=confidence.device)
    sums.index_add_(1, interval, torch.stack([confidence, right.double()]))
    mean_confidence, accuracy = (sums / counts.clamp(min=1)).tolist()
    return Reliability(tuple(counts.tolist()), tuple(mean_confidence), tuple(accuracy))


def expected_calibration_error(logits: Tensor, targets: Tensor, bins: int = BINS) -> float:
    """Return how far confidence and accuracy lie apart on average, a fraction; see :class:`Reliability`.

    Args:
        logits: Scores ``(images, classes)``.
        targets: Class numbers ``(images,)``.
        bins: Number of intervals.
    """
    return reliability(logits, targets, bins).error


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """Return the temperature by which logits are divided for the least negative log-likelihood.

    Guo et al. 2017, section 4.2. The likelihood is convex in ``1 / temperature``, and its slope, the mean of
    ``E_p[logit] - logit of the truth``, rises with it: its root is found by bisection. Where every image is right (or
    every answer is worse than a guess) there is no root, and the nearer of :data:`TEMPERATURES` is returned.

    Args:
        logits: Scores ``(images, classes)``, of images that neither trained the network nor measure it.
        targets: Class numbers ``(images,)``.
    """
    logits = logits.double()
    own = logits.gather(1, targets[:, None]).squeeze(1)

    def slope(inverse: float) -> Tensor:
        return (((logits * inverse).softmax(dim=1) * logits).sum(dim=1) - own).mean()

    return bisect_temperature(slope)


def bisect_temperature(slope: Callable[[float], Tensor]) -> float:
    """Return the temperature at whose inverse a rising slope of the likelihood is 0, or the nearer bound.

    Args:
        slope: From ``1 / temperature`` to a scalar.
    """
    # log(1 / temperature): the bounds of the inverse are those of the temperature, the other way round.
    low, high = (-math.log(temperature) for temperature in reversed(TEMPERATURES))
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(math.exp(middle)) < 0 else (low, middle)
    return math.exp(-(low + high) / 2)
