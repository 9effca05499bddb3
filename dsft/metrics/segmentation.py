"""Metrics of semantic segmentation from confusion matrices: intersection over union (IoU) and pixel accuracy."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsft.metrics.significance import Interval

_RESAMPLES = 1000


def pixel_confusion(predicted: Tensor, targets: Tensor, num_classes: int, no_class: int) -> Tensor:
    """Count the pixels of each image by true and predicted class.

    Args:
        predicted: Class indices ``(images, height, width)``.
        targets: True class indices in the same shape; pixels with the value ``no_class`` are left out.
        num_classes: Number of classes.
        no_class: The value of pixels without a class.

    Returns:
        Counts ``(images, classes, classes)``, int64: rows are true classes, columns predicted ones.
    """
    cells = num_classes * num_classes
    pairs = targets.long() * num_classes + predicted.long()
    # Pixels without a class are counted in a further cell, which is dropped.
    pairs = torch.where(targets == no_class, cells, pairs).flatten(1)
    counts = torch.stack([torch.bincount(each, minlength=cells + 1) for each in pairs])
    return counts[:, :cells].reshape(-1, num_classes, num_classes)


def class_iou(confusion: Tensor) -> Tensor:
    """Return the IoU of each class, ``TP / (TP + FP + FN)``; NaN for a class without true or predicted pixels.

    Args:
        confusion: Counts ``(..., classes, classes)``.

    Returns:
        Fractions ``(..., classes)``, float64.
    """
    hits, union = _hits_and_union(confusion)
    return hits / union.where(union > 0, torch.nan)


def mean_iou(confusion: Tensor) -> Tensor:
    """Return the mean IoU over the classes that occur among the true or predicted pixels.

    Args:
        confusion: Counts ``(..., classes, classes)``.

    Returns:
        Fractions ``(...)``, float64; NaN without any pixel.
    """
    return class_iou(confusion).nanmean(dim=-1)


def class_accuracy(confusion: Tensor) -> Tensor:
    """Return the fraction of the true pixels of each class that are predicted as it; NaN for a class without any."""
    support = confusion.double().sum(-1)
    return confusion.double().diagonal(dim1=-2, dim2=-1) / support.where(support > 0, torch.nan)


def pixel_accuracy(confusion: Tensor) -> Tensor:
    """Return the fraction of the pixels with the right class; NaN without any pixel."""
    total = confusion.double().sum((-2, -1))
    return confusion.double().diagonal(dim1=-2, dim2=-1).sum(-1) / total.where(total > 0, torch.nan)


def miou_interval(confusion: Tensor) -> Interval:
    """Return the 95 % confidence interval of the mean IoU: a percentile bootstrap over the images.

    Args:
        confusion: Counts ``(images, classes, classes)``.
    """
    return _percentiles(_resampled_miou(confusion))


def miou_difference_interval(first: Tensor, second: Tensor) -> Interval:
    """Return the 95 % interval of ``second - first`` in mean IoU: a paired bootstrap over the same images."""
    return _percentiles(_resampled_miou(second) - _resampled_miou(first))


def _hits_and_union(confusion: Tensor) -> tuple[Tensor, Tensor]:
    counts = confusion.double()
    hits = counts.diagonal(dim1=-2, dim2=-1)
    return hits, counts.sum(-1) + counts.sum(-2) - hits


def _resampled_miou(confusion: Tensor) -> NDArray[np.float64]:
    """Return the mean IoU of resamples of the images; the resamples are the same for every network."""
    images = len(confusion)
    draws = np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), _RESAMPLES)
    hits, union = (draws @ each.numpy() for each in _hits_and_union(confusion))
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nanmean(np.where(union > 0, hits / np.where(union > 0, union, 1), np.nan), axis=1))


def _percentiles(values: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
