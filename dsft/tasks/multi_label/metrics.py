"""The metrics of multi-label classification."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from dsft.choices import TaskName
from dsft.metrics import Interval
from dsft.tasks.metric_specs import F1, ClassMetricSpec, MetricLayout, MetricSpec
from dsft.tasks.metrics import CalibratedMetrics

LAYOUT = MetricLayout(
    main=MetricSpec("map", "mAP"),
    others=(MetricSpec("micro_f1", "micro F1"), MetricSpec("macro_f1", "macro F1")),
    classes=(
        ClassMetricSpec("precision", "precision", mean="macro_precision"),
        ClassMetricSpec("recall", "recall", mean="macro_recall"),
        F1,
        ClassMetricSpec("average_precision", "AP", mean="map"),
    ),
    prediction="labels",
    target="set of labels",
)


@dataclass(frozen=True)
class LabelMetrics:
    """The metrics of one label, as fractions; a metric with denominator 0 is 0.

    Attributes:
        name: The label.
        precision: Fraction of the images predicted with this label (probability above 0.5) that have it.
        recall: Fraction of the images with this label that are predicted with it.
        f1: Harmonic mean of precision and recall.
        support: Number of images with this label.
        average_precision: Area under the precision-recall curve, as in scikit-learn; None if no image has the label.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    average_precision: float | None


@dataclass(frozen=True)
class MultiLabelMetrics:
    """The metrics of a network on a split. The names are a stable interface for scripts.

    A label is predicted if its probability is above 0.5. A decision is whether an image has a label.

    Attributes:
        split: Name of the split.
        count: Number of evaluated images.
        skipped: Number of unreadable images, which were skipped.
        loss: Mean binary cross entropy of all decisions, in nats; equal to ``nll``.
        map: Mean average precision over the labels that occur, a fraction.
        map_interval: Bounds of its 95 % confidence interval (bootstrap over the images).
        exact_match: Fraction of the images with exactly the true labels predicted (subset accuracy).
        micro_f1: F1 of all decisions together, a fraction.
        macro_precision: Mean over the labels, a fraction; labels that occur neither in the targets nor in the
            predictions are ignored, here and in the next two.
        macro_recall: Mean over the labels, a fraction.
        macro_f1: Mean over the labels, a fraction.
        ece: Expected calibration error of the decisions with 15 bins, a fraction.
        nll: Negative log-likelihood of a decision, in nats.
        brier: Mean squared error of a decision's probability, 0 to 1.
        calibrated: The metrics after temperature scaling; None if no temperature was fitted.
        per_class: The metrics of every label, in the order of the class table.
        task: Identifies the format.
    """

    layout: ClassVar[MetricLayout] = LAYOUT

    split: str
    count: int
    skipped: int
    loss: float
    map: float
    map_interval: Interval
    exact_match: float
    micro_f1: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    ece: float
    nll: float
    brier: float
    calibrated: CalibratedMetrics | None
    per_class: tuple[LabelMetrics, ...]
    task: TaskName = TaskName.MULTI_LABEL

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as JSON values, with the names of the attributes as keys."""
        interval, per_class = list(self.map_interval), [asdict(scores) for scores in self.per_class]
        return {**asdict(self), "map_interval": interval, "per_class": per_class, "task": self.task.value}
