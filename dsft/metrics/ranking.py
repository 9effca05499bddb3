"""Average precision by class, its mean, and bootstrap confidence intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsft.metrics.significance import SEED, Interval, percentile_interval

_RESAMPLES = (200, 1_000)
"""Minimum and maximum number of bootstrap resamples."""

_WORK = 200_000_000
"""Maximum of images times classes times resamples, a second or two; larger data gets fewer resamples."""

_AT_ONCE = 2_000_000  # images times resamples in memory


def average_precision(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the average precision of every class, a fraction; NaN for a class without images.

    The sum over thresholds of precision times the increase of recall, without interpolation, as in scikit-learn; images
    with equal scores share a threshold.

    Args:
        scores: ``(images, classes)``; only their order within a class matters.
        targets: Labels ``(images, classes)``, 0 or 1.

    Returns:
        ``(classes,)``, float64.
    """
    alike = np.ones((1, len(scores)))
    columns = [ranking(alike)[0] for ranking in _rankings(scores, targets)]
    return torch.tensor(columns, dtype=torch.float64)


def mean_average_precision(scores: Tensor, targets: Tensor) -> float:
    """Return the mean of the average precisions over the classes that have images; 0 without any."""
    return float(average_precision(scores, targets).nanmean().nan_to_num(0.0))


def map_interval(scores: Tensor, targets: Tensor) -> Interval:
    """Return the 95 % bootstrap confidence interval of the mean average precision, as fractions.

    The percentile method over images (Efron & Tibshirani 1993, "An Introduction to the Bootstrap", ch. 13). A class
    without images in a resample does not count there.

    Args:
        scores: ``(images, classes)``.
        targets: ``(images, classes)``, 0 or 1.
    """
    return percentile_interval(_resampled(scores, targets))


def map_difference_interval(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Interval:
    """Return the 95 % paired bootstrap confidence interval of ``second - first`` in mean average precision.

    Args:
        first: Scores and targets of one network, each ``(images, classes)``.
        second: Those of another for the same images; the classes may be in another order.
    """
    return percentile_interval(_resampled(*second) - _resampled(*first))


def _resampled(scores: Tensor, targets: Tensor) -> NDArray[np.float64]:
    """Return the mean average precision of each resample; the resamples do not depend on the scores."""
    images, classes = scores.shape
    fewest, most = _RESAMPLES
    resamples = min(max(_WORK // (images * classes), fewest), most)
    rankings = list(_rankings(scores, targets))
    random = np.random.default_rng(SEED)
    means = []
    while resamples > 0:
        count = min(resamples, max(_AT_ONCE // images, 1))
        draws = random.integers(images, size=(count, images))
        times = np.stack([np.bincount(draw, minlength=images) for draw in draws]).astype(np.float64)
        found = np.stack([ranking(times) for ranking in rankings])
        has_any = ~np.isnan(found)
        means.append(np.nansum(found, axis=0) / np.maximum(has_any.sum(axis=0), 1))
        resamples -= count
    return np.concatenate(means)


@dataclass(frozen=True)
class _Ranking:
    """The images sorted by their score for one class, from which average precision is computed for any image weights.

    Attributes:
        order: Image indices, the highest score first.
        starts: Positions in that order where a run of equal scores starts.
        members: Indices of the images that have the class, in that order.
        runs: The run of each of them.
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    members: NDArray[np.int64]
    runs: NDArray[np.int64]

    def __call__(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the average precision of each resample ``(resamples,)`` from weights ``(resamples, images)``."""
        if not len(self.members):
            return np.full(len(times), np.nan)
        is_first = np.diff(self.runs, prepend=-1) > 0
        found = np.add.reduceat(times[:, self.members], np.flatnonzero(is_first), axis=1)
        # All images up to the end of each run that contains an image of the class.
        ends = np.append(self.starts[1:], len(self.order))[self.runs[is_first]]
        ahead = np.add.reduceat(times[:, self.order], np.append(0, ends[:-1]), axis=1)
        if ends[-1] < len(self.order):
            ahead[:, -1] -= times[:, self.order[ends[-1] :]].sum(axis=1)
        hits = found.cumsum(axis=1)
        precision = hits / np.maximum(ahead.cumsum(axis=1), 1)
        total = hits[:, -1]
        summed = (precision * found).sum(axis=1)
        return np.where(total > 0, summed / np.maximum(total, 1), np.nan)


def _rankings(scores: Tensor, targets: Tensor) -> Iterator[Callable[[NDArray[np.float64]], NDArray[np.float64]]]:
    for column, truth in zip(scores.cpu().double().numpy().T, targets.cpu().numpy().T, strict=True):
        order = np.argsort(-column, kind="stable")
        starts = np.flatnonzero(np.diff(column[order], prepend=np.nan) != 0)
        run = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(order))))
        is_member = truth[order] > 0.5
        yield _Ranking(order, starts, order[is_member], run[is_member])
