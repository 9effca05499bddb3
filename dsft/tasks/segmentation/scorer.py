"""The scorer of segmentation. Of each image it keeps the loss and the counts of pixels by true and predicted class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from dsft.choices import NO_CLASS
from dsft.losses import pixel_cross_entropy
from dsft.metrics import (
    Interval,
    class_accuracy,
    class_iou,
    mean_iou,
    miou_difference_interval,
    miou_interval,
    pixel_accuracy,
    pixel_confusion,
)
from dsft.tasks.metric_specs import MetricLayout
from dsft.tasks.metrics import CalibratedMetrics, Metrics, Rows
from dsft.tasks.segmentation.metrics import LAYOUT, PixelClassMetrics, SegmentationMetrics


class SegmentationScorer:
    """Implements :class:`dsft.tasks.Scorer`.

    In :class:`dsft.tasks.Rows` the outputs are losses ``(images,)``, float64, and the targets counts of pixels
    ``(images, classes, classes)``, int64.
    """

    layout: ClassVar[MetricLayout] = LAYOUT
    metrics_type: ClassVar[type[Metrics]] = SegmentationMetrics

    def reduce(self, outputs: Tensor, targets: Tensor) -> Rows:
        """Compare predicted and true masks pixel by pixel."""
        losses = pixel_cross_entropy(outputs, targets, no_class=NO_CLASS)
        confusion = pixel_confusion(outputs.argmax(1), targets, outputs.shape[1], NO_CLASS)
        return Rows(losses.double().cpu(), confusion.cpu())

    def image_scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean IoU of each image; 1 without any pixel that has a class."""
        del outputs
        return mean_iou(targets).nan_to_num(1.0)

    def monitored_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return loss, mean IoU and pixel accuracy."""
        confusion = targets.sum(0)
        return {
            "loss": outputs.mean().item(),
            "miou": mean_iou(confusion).nan_to_num(0.0).item(),
            "pixel_accuracy": pixel_accuracy(confusion).nan_to_num(0.0).item(),
        }

    def compute_metrics(
        self,
        outputs: Tensor,
        targets: Tensor,
        *,
        classes: Sequence[str],
        split_name: str,
        skipped: int,
        calibrated: CalibratedMetrics | None,
    ) -> SegmentationMetrics:
        """Return :class:`SegmentationMetrics`."""
        del calibrated
        confusion, monitored = targets.sum(0), self.monitored_metrics(outputs, targets)
        accuracy = class_accuracy(confusion)
        columns = [
            [None if math.isnan(each) else each for each in found.tolist()]
            for found in (class_iou(confusion), accuracy)
        ]
        rows = zip(classes, *columns, confusion.sum(1).tolist(), strict=True)
        return SegmentationMetrics(
            split=split_name,
            count=len(outputs),
            skipped=skipped,
            loss=monitored["loss"],
            miou=monitored["miou"],
            miou_interval=miou_interval(targets),
            pixel_accuracy=monitored["pixel_accuracy"],
            mean_accuracy=accuracy.nanmean().nan_to_num(0.0).item(),
            per_class_iou=tuple(columns[0]),
            per_class=tuple(PixelClassMetrics(*row) for row in rows),
        )

    def confusion_matrix(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Count the pixels of every true class (rows) by the predicted class (columns)."""
        del outputs
        return targets.sum(0)

    def align(self, expected: Tensor, found: Tensor) -> Tensor:
        """Return ``found`` unchanged."""
        del expected
        return found

    def agrees(self, expected: Tensor, found: Tensor) -> Tensor:
        """Return whether both predict the same class for a pixel ``(images, height, width)``."""
        return expected.argmax(1) == found.argmax(1)

    def margin(self, outputs: Tensor) -> Tensor:
        """Return the difference between the two highest logits of each pixel."""
        best = outputs.topk(min(2, outputs.shape[1]), dim=1).values
        return best[:, 0] - best[:, -1]

    def difference_interval(self, first: Rows, second: Rows) -> Interval:
        """Return the paired bootstrap interval of the difference in mean IoU, as fractions."""
        return miou_difference_interval(first.targets, second.targets)
