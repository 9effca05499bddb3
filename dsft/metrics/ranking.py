"""How well scores rank the images of a class before the others: average precision, and its confidence interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsft.metrics.significance import SEED, Interval, percentile_interval

_RESAMPLES = (200, 1_000)
"""Fewest and most resamples of the images."""

_WORK = 200_000_000
"""Images times classes times resamples, which is a second or two; where it would be more there are fewer resamples."""

_AT_ONCE = 2_000_000  # images times resamples in memory


def average_precision(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the average precision of every class, a fraction; NaN for one that no image has.

    The sum over the thresholds of precision times the gain in recall, without interpolation, as in scikit-learn:
    images with equal scores stand or fall together.

    Args:
        scores: ``(images, classes)``; only their order within a class matters.
        targets: Whether each image has each class ``(images, classes)``, 0 or 1.

    Returns:
        ``(classes,)``, float64.
    """
    alike = np.ones((1, len(scores)))
    columns = [ranking(alike)[0] for ranking in _rankings(scores, targets)]
    return torch.tensor(columns, dtype=torch.float64)


def mean_average_precision(scores: Tensor, targets: Tensor) -> float:
    """Return the mean of the average precisions over the classes that an image has; 0 where there is none."""
    return float(average_precision(scores, targets).nanmean().nan_to_num(0.0))


def map_interval(scores: Tensor, targets: Tensor) -> Interval:
    """Return the bootstrap's 95 % confidence interval of the mean average precision, as fractions.

    The percentile method over images (Efron and Tibshirani 1993, chapter 13). A class that a resample has no image of
    does not count in it.

    Args:
        scores: ``(images, classes)``.
        targets: ``(images, classes)``, 0 or 1.
    """
    return percentile_interval(_resampled(scores, targets))


def map_difference_interval(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Interval:
    """Return the paired bootstrap's 95 % confidence interval of ``second - first`` in mean average precision.

    Args:
        first: Scores and targets of one network, each ``(images, classes)``.
        second: Those of another for the same images; its classes may be in another order.
    """
    return percentile_interval(_resampled(*second) - _resampled(*first))


def _resampled(scores: Tensor, targets: Tensor) -> NDArray[np.float64]:
    """Return the mean average precision of many resamples; the same images are drawn whatever the scores."""
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
    """The images of one class in the order of their scores; called with how often each image counts.

    Attributes:
        order: Numbers of the images, the highest score first.
        starts: Where in that order a run of equal scores begins.
        members: Numbers of the images that have the class, in that order.
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
        # Everything up to the end of each run that has a member of the class.
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
