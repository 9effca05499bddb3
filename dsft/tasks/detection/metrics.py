"""The metrics of detection."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from dsft.choices import TaskName
from dsft.metrics import Interval
from dsft.tasks.metric_specs import ClassMetricSpec, MetricLayout, MetricSpec

_AP = ClassMetricSpec("ap", "AP", mean="map")
LAYOUT = MetricLayout(
    main=MetricSpec("map", "mAP"),
    others=(MetricSpec("map50", "mAP50"), MetricSpec("map75", "mAP75")),
    classes=(_AP, ClassMetricSpec("ap50", "AP50", mean="map50"), ClassMetricSpec("ap75", "AP75", mean="map75")),
    prediction="boxes",
    target="boxes",
    details=(),
    order=_AP,
    support="boxes",
    title="Scores in percent",
)


@dataclass(frozen=True)
class BoxClassMetrics:
    """The metrics of one class, as fractions; None without true boxes.

    Attributes:
        name: The class.
        ap: Average precision, the mean over the IoU thresholds 0.5, 0.55, ... 0.95.
        ap50: Average precision at the threshold 0.5.
        ap75: Average precision at the threshold 0.75.
        support: Number of true boxes that are no crowds.
    """

    name: str
    ap: float | None
    ap50: float | None
    ap75: float | None
    support: int


@dataclass(frozen=True)
class DetectionMetrics:
    """The metrics of a network on a split. The names are a stable interface for scripts.

    They are those of COCO for boxes of all sizes, with at most 100 detections of an image. Crowds do not count.

    Attributes:
        split: Name of the split.
        count: Number of evaluated images.
        skipped: Number of unreadable images, which were skipped.
        map: Mean average precision: the mean over the IoU thresholds 0.5, 0.55, ... 0.95 and the classes with true
            boxes, a fraction.
        map_interval: Bounds of its 95 % confidence interval (bootstrap over the images).
        map50: The same at the threshold 0.5 alone.
        map75: The same at the threshold 0.75 alone.
        per_class: The metrics of every class, in the order of the class table.
        task: Identifies the format.
    """

    layout: ClassVar[MetricLayout] = LAYOUT

    split: str
    count: int
    skipped: int
    map: float
    map_interval: Interval
    map50: float
    map75: float
    per_class: tuple[BoxClassMetrics, ...]
    task: TaskName = TaskName.DETECTION

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as JSON values, with the names of the attributes as keys."""
        per_class = [asdict(scores) for scores in self.per_class]
        return {
            **asdict(self),
            "map_interval": list(self.map_interval),
            "per_class": per_class,
            "task": self.task.value,
        }
