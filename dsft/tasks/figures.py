"""Which scores a task has and how they are written, in the same way on a terminal, on a page and in a picture.

Tables and messages have all scores in percent. Files have them under their keys in ``metrics.json``, where top-1 and
top-5 are percentages and the others fractions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One score.

    Attributes:
        name: Its key in ``metrics.json``, and the attribute of the metrics.
        label: Its name in headings.
        points: Percentage points per unit: 100 for a score that is a fraction, 1 for a percentage.
    """

    name: str
    label: str
    points: float = 100.0

    @property
    def heading(self) -> str:
        """The label with its unit."""
        return f"{self.label} %"

    @property
    def title(self) -> str:
        """The label as the beginning of a sentence."""
        return self.label.capitalize() if self.label.islower() else self.label

    def of(self, metrics: object) -> float:
        """Return the score that metrics have."""
        return float(getattr(metrics, self.name))

    def number(self, value: float) -> str:
        """Return a value in percent, without the unit."""
        return f"{self.points * value:.2f}"

    def words(self, value: float) -> str:
        """Return a value in percent, with the unit."""
        return f"{self.number(value)} %"


@dataclass(frozen=True)
class ClassFigure(Figure):
    """A score that every class has; ``mean`` is the key of its mean over the classes."""

    mean: str = ""

    def show(self, scores: object) -> str:
        """Return the score of a class as text; ``-`` if it has none."""
        value = getattr(scores, self.name)
        return "-" if value is None else self.number(value)

    def mean_of(self, metrics: object) -> float:
        """Return the mean over the classes."""
        return float(getattr(metrics, self.mean))


@dataclass(frozen=True)
class Layout:
    """The scores of a task.

    Attributes:
        main: The score that models are compared by; the metrics have its confidence interval as ``NAME_interval``.
        others: Further scores in tables of models.
        classes: Scores of each class.
        answer: Name of the prediction for an image, such as ``top-1``.
        truth: Name of the ground truth of an image, such as ``class``.
    """

    main: Figure
    others: tuple[Figure, ...]
    classes: tuple[ClassFigure, ...]
    answer: str
    truth: str

    @property
    def interval(self) -> str:
        """The key of the main score's confidence interval."""
        return f"{self.main.name}_interval"

    def interval_of(self, metrics: object) -> str:
        """Return the main score's confidence interval as text."""
        return self.show_interval(getattr(metrics, self.interval), "-")

    def show_interval(self, interval: Sequence[float], between: str) -> str:
        """Return an interval of the main score in percent, with one decimal."""
        return between.join(f"{self.main.points * end:.1f}" for end in interval)
