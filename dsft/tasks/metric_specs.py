"""The metrics of a task, and how they are formatted in tables, reports and plots.

Tables and messages have all metrics in percent. Files have them under their keys in ``metrics.json``, where top-1 and
top-5 are percentages and the others fractions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class MetricSpec:
    """The name and the format of a metric.

    Attributes:
        name: Its key in ``metrics.json``, and the attribute of the metrics.
        label: Its name in headings.
        points: Percentage points per unit: 100 for a metric that is a fraction, 1 for a percentage.
    """

    name: str
    label: str
    points: float = 100.0

    @property
    def heading(self) -> str:
        """The label with the unit."""
        return f"{self.label} %"

    @property
    def title(self) -> str:
        """The label for the start of a sentence."""
        return self.label.capitalize() if self.label.islower() else self.label

    def value_in(self, metrics: object) -> float:
        """Return the value of the metric."""
        return float(getattr(metrics, self.name))

    def format(self, value: float) -> str:
        """Format a value in percent, without the unit."""
        return f"{self.points * value:.2f}"

    def with_unit(self, value: float) -> str:
        """Format a value in percent, with the unit."""
        return f"{self.format(value)} %"


@dataclass(frozen=True)
class ClassMetricSpec(MetricSpec):
    """A metric of each class; ``mean`` is the key of its mean over the classes."""

    mean: str = ""

    def format_in(self, scores: object) -> str:
        """Format the value of a class; ``-`` if it is undefined."""
        value = getattr(scores, self.name)
        return "-" if value is None else self.format(value)

    def mean_in(self, metrics: object) -> float:
        """Return the mean over the classes."""
        return float(getattr(metrics, self.mean))


@dataclass(frozen=True)
class MetricLayout:
    """The metrics of a task.

    Attributes:
        main: The metric by which models are compared; its confidence interval is the metric ``NAME_interval``.
        others: Further metrics that are displayed beside it.
        classes: The metrics of each class.
        prediction: What the prediction for an image is called where two models are compared.
        target: What the true label of an image is called.
    """

    main: MetricSpec
    others: tuple[MetricSpec, ...]
    classes: tuple[ClassMetricSpec, ...]
    prediction: str
    target: str

    @property
    def interval(self) -> str:
        """The key of the main metric's confidence interval."""
        return f"{self.main.name}_interval"

    def interval_in(self, metrics: object) -> str:
        """Format the main metric's confidence interval."""
        return self.format_interval(getattr(metrics, self.interval), "-")

    def format_interval(self, interval: Sequence[float], separator: str) -> str:
        """Format an interval of the main metric in percent, with one decimal."""
        return separator.join(f"{self.main.points * end:.1f}" for end in interval)
