"""Which scores a task has, and how they are written, alike on a terminal, on a page and in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One score.

    Attributes:
        name: Its key in ``metrics.json``, and the attribute of the metrics.
        label: What headings call it.
        style: The format of its number, such as ``.2f``.
        points: What its unit is worth in points, that is in percent: 1 for percentages, 100 for fractions.
    """

    name: str
    label: str
    style: str = ".4f"
    points: float = 100.0

    @property
    def heading(self) -> str:
        """The label, with its unit where it has one."""
        return f"{self.label} %" if self.points == 1 else self.label

    @property
    def title(self) -> str:
        """The label as a sentence begins with it."""
        return self.label.capitalize() if self.label.islower() else self.label

    def of(self, metrics: object) -> float:
        """Return the score that metrics have."""
        return float(getattr(metrics, self.name))

    def number(self, value: float) -> str:
        """Return a value without its unit."""
        return format(value, self.style)

    def words(self, value: float) -> str:
        """Return a value with its unit."""
        return f"{self.number(value)} %" if self.points == 1 else self.number(value)


@dataclass(frozen=True)
class ClassFigure(Figure):
    """A score that every class has; ``mean`` is the key of its mean over the classes."""

    mean: str = ""

    def show(self, scores: object) -> str:
        """Return the score of a class as text; ``-`` where it has none."""
        value = getattr(scores, self.name)
        return "-" if value is None else self.number(value)

    def mean_of(self, metrics: object) -> float:
        """Return the mean over the classes."""
        return float(getattr(metrics, self.mean))


@dataclass(frozen=True)
class Layout:
    """The scores of a task.

    Attributes:
        main: The one that models are compared by; the metrics have its confidence interval as ``NAME_interval``.
        others: Further ones that stand beside it.
        classes: Those that every class has.
        answer: What the answer about an image is called where two are compared.
        truth: What the truth about an image is called.
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
        """Return an interval as text, with one digit less than the score has in points."""
        digits = 1 if self.main.points == 1 else 3
        return between.join(f"{end:.{digits}f}" for end in interval)
