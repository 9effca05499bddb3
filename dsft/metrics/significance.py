"""How much of a score, or of a difference between two, is the luck of the draw of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Interval = tuple[float, float]
"""Low and high end of a 95 % confidence interval."""

RESAMPLES = 10_000
SEED = 0
_LEVEL = (2.5, 97.5)  # percentiles


def top1_interval(right: Tensor) -> Interval:
    """Return the bootstrap's 95 % confidence interval of top-1, in percent.

    The percentile method (Efron and Tibshirani 1993, chapter 13). Where all images are right, or none, every resample
    is like the sample, and the interval is that one point: it says nothing then.

    Args:
        right: Whether each image was given its class ``(images,)``, bool.
    """
    count = int(right.sum())
    return _interval([count, len(right) - count], values=[100.0, 0.0])


def difference_interval(first: Tensor, second: Tensor) -> Interval:
    """Return the paired bootstrap's 95 % confidence interval of ``second - first`` in top-1, in points.

    Both networks answered the same images, and a resample draws images, not answers. Where they disagree about a few
    images only, the interval is too narrow; :func:`mcnemar_p` is exact then too.

    Args:
        first: Whether the first network was right about each image ``(images,)``, bool.
        second: The same of the second network, in the same order.
    """
    only_first, only_second = disagreements(first, second)
    return _interval([only_second, only_first, len(first) - only_first - only_second], values=[100.0, -100.0, 0.0])


def mcnemar_p(first: Tensor, second: Tensor) -> float:
    """Return the p-value of McNemar's exact test: could two networks that are equally good differ so much?

    Of the images about which exactly one is right, as many should be the one's as the other's: a two-sided binomial
    test with probability 1/2 (McNemar 1947, in its exact form).

    Args:
        first: Whether the first network was right about each image ``(images,)``, bool.
        second: The same of the second network, in the same order.
    """
    counts = disagreements(first, second)
    total = sum(counts)
    # Binomial coefficients in whole numbers, each from the one before: nothing is rounded until the division.
    term = tail = 1
    for number in range(min(counts)):
        term = term * (total - number) // (number + 1)
        tail += term
    return min(1.0, float(2 * tail / 2**total))


def disagreements(first: Tensor, second: Tensor) -> tuple[int, int]:
    """Count the images about which only the first network is right, and only the second."""
    return int((first & ~second).sum()), int((second & ~first).sum())


def _interval(counts: Sequence[int], values: Sequence[float]) -> Interval:
    """Resample images that take few different values, and return the interval of their mean.

    To draw images with replacement and count each value is to draw from a multinomial distribution.
    """
    total = sum(counts)
    draws = np.random.default_rng(SEED).multinomial(total, np.array(counts) / total, size=RESAMPLES)
    return percentile_interval(draws @ np.array(values) / total)


def percentile_interval(resampled: NDArray[np.float64]) -> Interval:
    """Return the middle 95 % of the values of resamples."""
    low, high = np.percentile(resampled, _LEVEL)
    return float(low), float(high)
