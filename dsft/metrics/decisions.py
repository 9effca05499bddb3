"""What independent decisions are worth: for every image and every class, whether it is there."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dsft.metrics.calibration import BINS, Reliability, bisect_temperature, sort_into_bins
from dsft.metrics.confusion import ClassScores


def decision_scores(logits: Tensor, targets: Tensor) -> ClassScores:
    """Return precision, recall, F1 and support of every class, where it is there at a probability above 0.5.

    Args:
        logits: ``(images, classes)``.
        targets: ``(images, classes)``, 0 or 1.
    """
    given, there = logits > 0, targets > 0.5
    return ClassScores.of_counts((given & there).sum(dim=0), there.sum(dim=0), given.sum(dim=0))


def micro_f1(logits: Tensor, targets: Tensor) -> float:
    """Return the F1 of all decisions together, a fraction; 0 where no class is there and none is given."""
    given, there = logits > 0, targets > 0.5
    return 2 * int((given & there).sum()) / max(int(given.sum() + there.sum()), 1)


def exact_matches(logits: Tensor, targets: Tensor) -> Tensor:
    """Return whether each image was given all of its labels and no other ``(images,)``, bool."""
    return ((logits > 0) == (targets > 0.5)).all(dim=1)


def binary_log_likelihood(logits: Tensor, targets: Tensor) -> float:
    """Return the mean of ``-log p(truth)`` over all decisions, in nats: the binary cross entropy."""
    return functional.binary_cross_entropy_with_logits(logits.double(), targets.double()).item()


def binary_brier_score(logits: Tensor, targets: Tensor) -> float:
    """Return the mean squared distance of a decision's probability from the truth, 0 to 1 (Brier 1950)."""
    return (logits.double().sigmoid() - targets.double()).square().mean().item()


def decision_reliability(logits: Tensor, targets: Tensor, bins: int = BINS) -> Reliability:
    """Sort decisions by the probability that the class is there, and count how often it is.

    Args:
        logits: ``(images, classes)``.
        targets: ``(images, classes)``, 0 or 1.
        bins: Number of intervals of equal width.
    """
    return sort_into_bins(logits.double().sigmoid().flatten(), targets.flatten() > 0.5, bins)


def fit_binary_temperature(logits: Tensor, targets: Tensor) -> float:
    """Return the temperature by which logits are divided for the least binary cross entropy.

    As :func:`dsft.metrics.fit_temperature`, whose slope is here the mean of ``(sigmoid(logit / T) - truth) * logit``.

    Args:
        logits: ``(images, classes)``, of images that neither trained the network nor measure it.
        targets: ``(images, classes)``, 0 or 1.
    """
    logits, targets = logits.double(), targets.double()

    def slope(inverse: float) -> Tensor:
        return (((logits * inverse).sigmoid() - targets) * logits).mean()

    return bisect_temperature(slope)


def answer_probabilities(logits: Tensor) -> Tensor:
    """Return the probability that a network gives to its whole answer about each image ``(images,)``, float64.

    The decisions are independent in the model, so it is the product of theirs, each at least 0.5.
    """
    return torch.sigmoid(logits.double().abs()).log().sum(dim=1).exp()
