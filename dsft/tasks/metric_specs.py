"""The metrics of a task, and how they are formatted in tables, reports and plots.

Tables and messages have fractions in percent. Files have them under their keys in ``metrics.json``, where top-1 and
top-5 are percentages and the other fractions fractions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dsft.choices import InputKind


@dataclass(frozen=True)
class MetricSpec:
    """The name and the format of a metric.

    Attributes:
        name: Its key in ``metrics.json``, and the attribute of the metrics.
        label: Its name in headings.
        points: Factor from the value to what is displayed: 100 for a metric that is a fraction, 1 for a percentage.
        unit: The unit of what is displayed; empty for a metric without one.
        digits: Number of decimals.
    """

    name: str
    label: str
    points: float = 100.0
    unit: str = "%"
    digits: int = 2

    @property
    def heading(self) -> str:
        """The label with the unit."""
        return f"{self.label} {self.unit}".strip()

    @property
    def axis_label(self) -> str:
        """The label with the unit in parentheses, for plots."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def difference_unit(self) -> str:
        """The unit of a difference of two values: percentage points are called points."""
        return "points" if self.unit == "%" else self.unit or self.label

    @property
    def title(self) -> str:
        """The label for the start of a sentence."""
        return self.label.capitalize() if self.label.islower() else self.label

    def value_in(self, metrics: object) -> float:
        """Return the value of the metric."""
        return float(getattr(metrics, self.name))

    def format(self, value: float) -> str:
        """Format a value without the unit."""
        return f"{self.points * value:.{self.digits}f}"

    def with_unit(self, value: float) -> str:
        """Format a value with the unit."""
        return f"{self.format(value)} {self.unit}".strip()


@dataclass(frozen=True)
class ClassMetricSpec(MetricSpec):
    """A metric of each class; ``mean`` is the key of its mean over the classes."""

    mean: str = ""

    def format_in(self, scores: object) -> str:
        """Format the value of a class; ``-`` if it is undefined."""
        value = getattr(scores, self.name)
        return "-" if value is None else self.format(value)

    def rank_in(self, scores: object) -> float:
        """Return the value of a class for sorting; undefined values come last."""
        value = getattr(scores, self.name)
        return math.inf if value is None else float(value)

    def mean_in(self, metrics: object) -> float:
        """Return the mean over the classes."""
        return float(getattr(metrics, self.mean))


LOSS = MetricSpec("loss", "loss", points=1, unit="", digits=4)
BRIER = MetricSpec("brier", "Brier", points=1, unit="", digits=4)
ECE = MetricSpec("ece", "ECE")
F1 = ClassMetricSpec("f1", "F1", mean="macro_f1")


@dataclass(frozen=True)
class MetricLayout:
    """The metrics of a task.

    Attributes:
        main: The metric by which models are compared; its confidence interval is the metric ``NAME_interval``.
        others: Further metrics that are displayed beside it.
        classes: The metrics of each class; empty for a task without classes.
        prediction: What the prediction for an image is called where two models are compared.
        target: What the true label of an image is called.
        details: Metrics for pages only, which have room for them.
        order: The metric of a class by which classes are sorted, lowest first.
        support: What ``support`` counts for a class of images.
        title: The units of a table of metrics.
    """

    main: MetricSpec
    others: tuple[MetricSpec, ...]
    classes: tuple[ClassMetricSpec, ...]
    prediction: str
    target: str
    details: tuple[MetricSpec, ...] = (LOSS, BRIER, ECE)
    order: ClassMetricSpec = F1
    support: str = "images"
    title: str = "Scores in percent, loss in nats"

    def support_of(self, kind: InputKind) -> str:
        """Return what ``support`` counts for a class: examples of a kind, or what they consist of."""
        if self.support == InputKind.IMAGE.plural:
            return kind.plural
        return "samples" if kind is InputKind.SIGNAL else self.support

    @property
    def interval(self) -> str:
        """The key of the main metric's confidence interval."""
        return f"{self.main.name}_interval"

    def interval_in(self, metrics: object) -> str:
        """Format the main metric's confidence interval."""
        return self.format_interval(getattr(metrics, self.interval), "-")

    def format_interval(self, interval: Sequence[float], separator: str) -> str:
        """Format an interval of the main metric, with one decimal less than the metric."""
        return separator.join(f"{self.main.points * end:.{self.main.digits - 1}f}" for end in interval)
