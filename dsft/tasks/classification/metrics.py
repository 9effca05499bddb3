"""The metrics of classification."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from dsft.metrics import Interval
from dsft.tasks.metric_specs import F1, ClassMetricSpec, MetricLayout, MetricSpec
from dsft.tasks.metrics import CalibratedMetrics

LAYOUT = MetricLayout(
    main=MetricSpec("top1", "top-1", points=1),
    others=(MetricSpec("top5", "top-5", points=1), MetricSpec("macro_f1", "macro F1")),
    classes=(
        ClassMetricSpec("precision", "precision", mean="macro_precision"),
        ClassMetricSpec("recall", "recall", mean="macro_recall"),
        F1,
    ),
    prediction="top-1",
    target="class",
)


@dataclass(frozen=True)
class ClassMetrics:
    """The metrics of one class, as fractions; a metric with denominator 0 is 0.

    Attributes:
        name: The class.
        precision: Fraction of the images predicted as this class that belong to it.
        recall: Fraction of the images of this class that are predicted as it.
        f1: Harmonic mean of precision and recall.
        support: Number of images of this class.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class ClassificationMetrics:
    """The metrics of a network on a split. The names are a stable interface for scripts.

    Attributes:
        split: Name of the split.
        count: Number of evaluated images.
        skipped: Number of unreadable images, which were skipped.
        loss: Mean cross entropy without label smoothing, in nats; equal to ``nll``.
        top1: Percentage of images whose class has the highest logit.
        top1_interval: Bounds of its 95 % confidence interval (bootstrap over the images).
        top5: Percentage of images whose class is among the five highest logits; 100 with five classes or fewer.
        macro_precision: Mean over the classes, a fraction. As in scikit-learn, classes that occur neither in the
            targets nor in the predictions are ignored, here and in the next two.
        macro_recall: Mean over the classes, a fraction.
        macro_f1: Mean over the classes, a fraction.
        ece: Expected calibration error with 15 bins, a fraction (Guo et al. 2017).
        nll: Negative log-likelihood, in nats.
        brier: Brier score: squared distance between probabilities and one-hot targets, 0 to 2.
        calibrated: The metrics after temperature scaling; None if no temperature was fitted.
        per_class: The metrics of every class, in the order of the class table.
    """

    layout: ClassVar[MetricLayout] = LAYOUT

    split: str
    count: int
    skipped: int
    loss: float
    top1: float
    top1_interval: Interval
    top5: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    ece: float
    nll: float
    brier: float
    calibrated: CalibratedMetrics | None
    per_class: tuple[ClassMetrics, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as JSON values, with the names of the attributes as keys."""
        interval, per_class = list(self.top1_interval), [asdict(scores) for scores in self.per_class]
        return {**asdict(self), "top1_interval": interval, "per_class": per_class}
