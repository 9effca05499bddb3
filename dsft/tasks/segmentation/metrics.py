"""The metrics of segmentation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from dsft.choices import TaskName
from dsft.metrics import Interval
from dsft.tasks.metric_specs import LOSS, ClassMetricSpec, MetricLayout, MetricSpec

_IOU = ClassMetricSpec("iou", "IoU", mean="miou")
LAYOUT = MetricLayout(
    main=MetricSpec("miou", "mIoU"),
    others=(MetricSpec("pixel_accuracy", "pixel accuracy"),),
    classes=(_IOU, ClassMetricSpec("accuracy", "accuracy", mean="mean_accuracy")),
    prediction="mask",
    target="mask",
    details=(LOSS,),
    order=_IOU,
    support="pixels",
)


@dataclass(frozen=True)
class PixelClassMetrics:
    """The metrics of one class, as fractions.

    Attributes:
        name: The class.
        iou: Intersection over union of true and predicted pixels; None if there are neither.
        accuracy: Fraction of the true pixels that are predicted as this class; None if there are none.
        support: Number of true pixels.
    """

    name: str
    iou: float | None
    accuracy: float | None
    support: int


@dataclass(frozen=True)
class SegmentationMetrics:
    """The metrics of a network on a split. The names are a stable interface for scripts.

    Pixels without a class do not count. Masks are compared at the size of the network's input.

    Attributes:
        split: Name of the split.
        count: Number of evaluated images.
        skipped: Number of unreadable images, which were skipped.
        loss: Cross entropy without label smoothing, in nats: the mean over the pixels of an image, then over images.
        miou: Mean intersection over union of the classes that occur in the masks or the predictions, a fraction. The
            pixels of all images are counted together.
        miou_interval: Bounds of its 95 % confidence interval (bootstrap over the images).
        pixel_accuracy: Fraction of the pixels with the right class.
        mean_accuracy: Mean over the classes that occur in the masks, a fraction.
        per_class_iou: Intersection over union of every class, in the order of the class table; None as in
            ``per_class``.
        per_class: The metrics of every class, in the order of the class table.
        task: Identifies the format.
    """

    layout: ClassVar[MetricLayout] = LAYOUT

    split: str
    count: int
    skipped: int
    loss: float
    miou: float
    miou_interval: Interval
    pixel_accuracy: float
    mean_accuracy: float
    per_class_iou: tuple[float | None, ...]
    per_class: tuple[PixelClassMetrics, ...]
    task: TaskName = TaskName.SEGMENTATION

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as JSON values, with the names of the attributes as keys."""
        lists = {"miou_interval": list(self.miou_interval), "per_class_iou": list(self.per_class_iou)}
        per_class = [asdict(scores) for scores in self.per_class]
        return {**asdict(self), **lists, "per_class": per_class, "task": self.task.value}
