"""Confidence intervals of scores and of paired differences, and McNemar's test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Interval = tuple[float, float]
"""Lower and upper bound of a 95 % confidence interval."""

RESAMPLES = 10_000
SEED = 0
_LEVEL = (2.5, 97.5)  # percentiles


def top1_interval(right: Tensor) -> Interval:
    """Return the 95 % bootstrap confidence interval of top-1, in percent.

    The percentile method (Efron & Tibshirani 1993, "An Introduction to the Bootstrap", ch. 13). If all or no images are
    correct, the interval degenerates to a point and carries no information.

    Args:
        right: Whether each image is classified correctly ``(images,)``, bool.
    """
    count = int(right.sum())
    return _interval([count, len(right) - count], values=[100.0, 0.0])


def difference_interval(first: Tensor, second: Tensor) -> Interval:
    """Return the 95 % paired bootstrap confidence interval of ``second - first`` in top-1, in percentage points.

    A resample draws images, with the predictions of both networks. If the networks disagree about few images, the
    interval is too narrow; :func:`mcnemar_p` is exact in any case.

    Args:
        first: Whether the first network classifies each image correctly ``(images,)``, bool.
        second: The same for the second network, in the same order.
    """
    only_first, only_second = disagreements(first, second)
    return _interval([only_second, only_first, len(first) - only_first - only_second], values=[100.0, -100.0, 0.0])


def mcnemar_p(first: Tensor, second: Tensor) -> float:
    """Return the p-value of the exact McNemar test that two networks have the same accuracy.

    A two-sided binomial test, with probability 1/2, of the images that exactly one network classifies correctly
    (McNemar 1947, in its exact form).

    Args:
        first: Whether the first network classifies each image correctly ``(images,)``, bool.
        second: The same for the second network, in the same order.
    """
    counts = disagreements(first, second)
    total = sum(counts)
    # Binomial coefficients as integers, each from the one before, so that nothing is rounded before the division.
    term = tail = 1
    for number in range(min(counts)):
        term = term * (total - number) // (number + 1)
        tail += term
    return min(1.0, float(2 * tail / 2**total))


def disagreements(first: Tensor, second: Tensor) -> tuple[int, int]:
    """Count the images that only the first network classifies correctly, and those that only the second does."""
    return int((first & ~second).sum()), int((second & ~first).sum())


def _interval(counts: Sequence[int], values: Sequence[float]) -> Interval:
    """Return the bootstrap confidence interval of the mean of a discrete variable.

    Drawing images with replacement and counting each value is equivalent to drawing from a multinomial distribution.
    """
    total = sum(counts)
    draws = np.random.default_rng(SEED).multinomial(total, np.array(counts) / total, size=RESAMPLES)
    return percentile_interval(draws @ np.array(values) / total)


def percentile_interval(resampled: NDArray[np.float64]) -> Interval:
    """Return the interval of the central 95 % of the resampled values."""
    low, high = np.percentile(resampled, _LEVEL)
    return float(low), float(high)
