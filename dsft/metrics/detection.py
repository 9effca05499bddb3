"""Metrics of object detection: average precision of boxes, as COCO defines it.

The definition is that of pycocotools with the area range ``all`` and at most 100 detections of an image: ten thresholds
of the intersection over union (IoU) from 0.5 to 0.95, and the precision at 101 values of the recall. Detections are
matched to true boxes image by image (:func:`match_detections`), so that the matches of several processes can be
concatenated; precision and recall are computed from the matches alone.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsft.metrics.significance import Interval, percentile_interval

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))

HIT, MISS, IGNORED = 1.0, 0.0, -1.0
"""States of a detection at a threshold: it matches a true box, none, or one that does not count."""

_RECALLS = np.linspace(0.0, 1.0, 101)
_RESAMPLES = 200


def match_detections(detections: Tensor, boxes: Tensor) -> Tensor:
    """Match the detections of an image to its true boxes, in the order of decreasing scores.

    A detection takes the true box of its class with the largest IoU that no other has taken, if the IoU reaches the
    threshold. One that matches nothing but a crowd is ignored; with crowds, the intersection is divided by the area of
    the detection.

    Args:
        detections: ``(detections, 6)``: left, top, right, bottom, score and class; a class below 0 is padding.
        boxes: ``(boxes, 6)``: left, top, right, bottom, class and whether it is a crowd; likewise padded.

    Returns:
        ``(detections, 12)``, float32: score, class (-1 for padding), and the state at each of the thresholds.
    """
    found, truth = detections.double().cpu().numpy(), boxes.double().cpu().numpy()
    truth = truth[truth[:, 4] >= 0]
    truth = truth[np.argsort(truth[:, 5], kind="stable")]  # crowds last
    is_crowd, matched = truth[:, 5] > 0, np.zeros((len(IOU_THRESHOLDS), len(truth)), bool)
    states = np.full((len(found), len(IOU_THRESHOLDS)), MISS)
    overlap = _overlap(found, truth, is_crowd)
    overlap[found[:, 5, None] != truth[None, :, 4]] = -1
    least = np.minimum(np.array(IOU_THRESHOLDS), 1 - 1e-10)[:, None]
    for row in np.argsort(-found[:, 4], kind="stable"):
        if found[row, 5] < 0 or not len(truth):
            continue
        # Of equal ones pycocotools takes the last.
        possible = np.where((overlap[row] >= least) & (~matched | is_crowd), overlap[row], -1.0)
        for kind, state in ((~is_crowd, HIT), (is_crowd, IGNORED)):
            fitting = np.where(kind, possible, -1.0)[:, ::-1]
            chosen = len(truth) - 1 - fitting.argmax(1)
            takes = (fitting.max(1) >= 0) & (states[row] == MISS)
            states[row, takes] = state
            matched[takes, chosen[takes]] = True
    scores = np.where(found[:, 5:] < 0, -1.0, found[:, 4:])
    return torch.from_numpy(np.concatenate([scores[:, [0, 1]], states], 1)).float()


def average_precisions(matches: Tensor, classes: Tensor, num_classes: int) -> Tensor:
    """Return the average precision of each class at each threshold.

    Args:
        matches: What :func:`match_detections` returned ``(images, detections, 12)``.
        classes: Classes of the true boxes that count ``(images, boxes)``; -1 is padding.
        num_classes: Number of classes.

    Returns:
        ``(classes, 10)``, float64; NaN for a class without true boxes.
    """
    ranked = _Ranked(matches, classes, num_classes)
    return torch.from_numpy(ranked.average_precisions(np.ones(len(matches))))


def detection_map_interval(matches: Tensor, classes: Tensor, num_classes: int) -> Interval:
    """Return the 95 % confidence interval of mAP: a percentile bootstrap over the images."""
    return percentile_interval(_resampled(matches, classes, num_classes))


def detection_map_difference_interval(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], num_classes: int
) -> Interval:
    """Return the 95 % interval of ``second - first`` in mAP: a paired bootstrap over the same images.

    Args:
        first: Matches and classes of one network, see :func:`average_precisions`.
        second: Those of the other one.
        num_classes: Number of classes.
    """
    return percentile_interval(_resampled(*second, num_classes) - _resampled(*first, num_classes))


def box_iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of boxes ``(n, 4)`` and ``(m, 4)``, a matrix ``(n, m)``."""
    shared, area, other = _areas(first, second)
    return shared / np.maximum(area[:, None] + other - shared, np.finfo(float).tiny)


class _Ranked:
    """The detections of each class in the order of decreasing scores, for any weights of the images."""

    def __init__(self, matches: Tensor, classes: Tensor, num_classes: int) -> None:
        found, truth = matches.double().numpy(), classes.numpy()
        images, places = np.nonzero(found[:, :, 1] >= 0)
        rows = found[images, places]
        self._classes: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
        self._support = np.stack([(truth == number).sum(1) for number in range(num_classes)])
        for number in range(num_classes):
            own = np.flatnonzero(rows[:, 1] == number)
            own = own[np.argsort(-rows[own, 0], kind="stable")]
            self._classes.append((images[own], rows[own, 2:].T))

    def average_precisions(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the average precisions ``(classes, 10)`` where each image counts as often as its weight says."""
        found = np.full((len(self._classes), len(IOU_THRESHOLDS)), np.nan)
        for number, (images, states) in enumerate(self._classes):
            positives = float(self._support[number] @ weights)
            if positives > 0:
                found[number] = _average_precision(states, weights[images], positives)
        return found


def _average_precision(
    states: NDArray[np.float64], weights: NDArray[np.float64], positives: float
) -> NDArray[np.float64]:
    """Return the area under the interpolated curve of precision over recall, at each threshold."""
    hits, misses = (np.cumsum(weights * (states == state), axis=1) for state in (HIT, MISS))
    precision = hits / np.maximum(hits + misses, np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    precision = np.concatenate([precision, np.zeros((len(precision), 1))], 1)
    places = [np.searchsorted(recall, _RECALLS, side="left") for recall in hits / positives]
    return np.array([own[at].mean() for own, at in zip(precision, places, strict=True)])


def _resampled(matches: Tensor, classes: Tensor, num_classes: int) -> NDArray[np.float64]:
    """Return mAP of resamples of the images; the resamples are the same for every network."""
    ranked, images = _Ranked(matches, classes, num_classes), len(matches)
    draws = np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), _RESAMPLES)
    found = (ranked.average_precisions(draw.astype(np.float64)) for draw in draws)
    return np.array([0.0 if np.isnan(each).all() else np.nanmean(each) for each in found])


def _overlap(
    found: NDArray[np.float64], truth: NDArray[np.float64], is_crowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    shared, area, other = _areas(found, truth)
    union = np.where(is_crowd, area[:, None], area[:, None] + other - shared)
    return shared / np.maximum(union, np.finfo(float).tiny)


def _areas(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the shared areas ``(n, m)`` of boxes, and the areas of both."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:4], second[None, :, 2:4])
    area, other = (np.prod(boxes[:, 2:4] - boxes[:, :2], axis=1) for boxes in (first, second))
    return np.prod(np.clip(high - low, 0, None), axis=2), area, other
