"""The scorer of detection. Of each image it keeps how its detections match, and the classes of its boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from dsft.metrics import (
    HIT,
    IOU_THRESHOLDS,
    MISS,
    Interval,
    average_precisions,
    detection_map_difference_interval,
    detection_map_interval,
    match_detections,
)
from dsft.metrics.detection import box_iou
from dsft.tasks.detection.metrics import LAYOUT, BoxClassMetrics, DetectionMetrics
from dsft.tasks.metric_specs import MetricLayout
from dsft.tasks.metrics import CalibratedMetrics, Metrics, Rows

SHOWN_SCORE = 0.3
"""Least score of the detections that are drawn, and counted for single images."""

_AT_50, _AT_75 = IOU_THRESHOLDS.index(0.5), IOU_THRESHOLDS.index(0.75)
_SAME_IOU, _SAME_PIXELS = 0.9, 0.01  # of two boxes that count as the same detection: either is enough


class DetectionScorer:
    """Implements :class:`dsft.tasks.Scorer`.

    In :class:`dsft.tasks.Rows` the outputs are what :func:`dsft.metrics.match_detections` returns
    ``(images, 100, 12)``, float32, and the targets the classes of the boxes ``(images, boxes)``, int64, with -1 for
    padding and crowds.
    """

    layout: ClassVar[MetricLayout] = LAYOUT
    metrics_type: ClassVar[type[Metrics]] = DetectionMetrics

    def reduce(self, outputs: Tensor, targets: Tensor) -> Rows:
        """Match the detections of each image to its boxes, after cutting them at the border of the image."""
        matches = [match_detections(_cut(found, boxes), boxes) for found, boxes in zip(outputs, targets, strict=True)]
        classes = torch.where(targets[:, :, 5] > 0, -1, targets[:, :, 4]).long().cpu()
        return Rows(torch.stack(matches), classes)

    def image_scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the F1 score of each image, see :func:`count_found`; 1 without boxes and detections."""
        found, false, missed = count_found(outputs, targets).unbind(1)
        total = 2 * found + false + missed
        return torch.where(total > 0, 2 * found / total.clamp_min(1), 1.0)

    def monitored_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return mAP, mAP50 and mAP75."""
        return _means(average_precisions(outputs, targets, _classes_in(outputs, targets)))

    def compute_metrics(
        self,
        outputs: Tensor,
        targets: Tensor,
        *,
        classes: Sequence[str],
        split_name: str,
        skipped: int,
        calibrated: CalibratedMetrics | None,
    ) -> DetectionMetrics:
        """Return :class:`DetectionMetrics`."""
        del calibrated
        precisions = average_precisions(outputs, targets, len(classes))
        columns = (precisions.mean(1), precisions[:, _AT_50], precisions[:, _AT_75])
        values = [[None if math.isnan(each) else each for each in column.tolist()] for column in columns]
        support = [int((targets == number).sum()) for number in range(len(classes))]
        means = _means(precisions)
        return DetectionMetrics(
            split=split_name,
            count=len(outputs),
            skipped=skipped,
            map=means["map"],
            map50=means["map50"],
            map75=means["map75"],
            map_interval=detection_map_interval(outputs, targets, len(classes)),
            per_class=tuple(BoxClassMetrics(*row) for row in zip(classes, *values, support, strict=True)),
        )

    def confusion_matrix(self, outputs: Tensor, targets: Tensor) -> None:
        """Return None, since a detection need not belong to a box."""

    def align(self, expected: Tensor, found: Tensor) -> Tensor:
        """Return the detections in the order of the expected ones, which replace those that were not found.

        Rounding exchanges detections with nearly equal scores. What is missing counts in :meth:`agrees`.
        """
        rows = []
        for one, other in zip(expected, found, strict=True):
            partners = _partners(one, other)
            rows.append(torch.where((partners >= 0)[:, None], other[partners.clamp_min(0)], one))
        return torch.stack(rows)

    def agrees(self, expected: Tensor, found: Tensor) -> Tensor:
        """Return which expected detections were found ``(images, 100)``: same class, and an IoU of at least 0.9."""
        return torch.stack([_partners(*pair) >= 0 for pair in zip(expected, found, strict=True)])

    def margin(self, outputs: Tensor) -> Tensor:
        """Return by how much the score of each detection ``(images, 100)`` exceeds the lowest of its image.

        The lowest ones are those that a threshold, or the number of rows, may leave out.
        """
        scores, is_padding = outputs[:, :, 4], outputs[:, :, 5] < 0
        lowest = scores.masked_fill(is_padding, torch.inf).amin(1, keepdim=True)
        return torch.where(is_padding, 0.0, scores - lowest)

    def difference_interval(self, first: Rows, second: Rows) -> Interval:
        """Return the paired bootstrap interval of the difference in mAP, as fractions."""
        return detection_map_difference_interval(first, second, _classes_in(*first))


def count_found(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the boxes found, the false detections and the boxes missed of each image ``(images, 3)``, float64.

    Detections with a score of at least 0.3 count, at an IoU of 0.5.
    """
    is_shown = (outputs[:, :, 1] >= 0) & (outputs[:, :, 0] >= SHOWN_SCORE)
    state = outputs[:, :, 2 + _AT_50]
    found, false = (((state == kind) & is_shown).sum(1).double() for kind in (HIT, MISS))
    return torch.stack([found, false, (targets >= 0).sum(1) - found], 1)


def _cut(found: Tensor, boxes: Tensor) -> Tensor:
    """Return detections without their parts beyond the image, where the targets say which part of the input it is."""
    areas = boxes[(boxes[:, 4] < 0) & (boxes[:, 2] > boxes[:, 0]), :4]
    if not len(areas):
        return found
    left, top, right, bottom = areas[0].tolist()
    columns, rows = found[:, [0, 2]].clamp(left, right), found[:, [1, 3]].clamp(top, bottom)
    return torch.cat([torch.stack([columns, rows], 2).flatten(1), found[:, 4:]], 1)


def _classes_in(outputs: Tensor, targets: Tensor) -> int:
    """Return a number of classes that includes all of the boxes; the others do not count."""
    del outputs
    return int(targets.max()) + 1 if targets.numel() else 0


def _means(precisions: Tensor) -> dict[str, float]:
    parts = {"map": precisions, "map50": precisions[:, _AT_50], "map75": precisions[:, _AT_75]}
    return {name: part.nanmean().nan_to_num(0.0).item() for name, part in parts.items()}


def _partners(expected: Tensor, found: Tensor) -> Tensor:
    """Return the row that has each detection of an image, of several the one with the nearest score; -1 without one."""
    overlap = torch.from_numpy(box_iou(expected.double().cpu().numpy(), found.double().cpu().numpy()))
    difference = (expected[:, None, :5] - found[None, :, :5]).abs()
    # Padding has no area, and boxes that were cut at the border may have none.
    is_near = (overlap >= _SAME_IOU) | (difference[:, :, :4].amax(2) <= _SAME_PIXELS)
    is_same = is_near & (expected[:, 5, None] == found[None, :, 5])
    distance = difference.sum(2)
    nearest = distance.masked_fill(~is_same, torch.inf).min(1)
    return torch.where(nearest.values.isinf(), -1, nearest.indices)
