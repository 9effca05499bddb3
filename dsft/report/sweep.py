"""Accuracy against cost for several budgets, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes

from dsft.report.figures import BLUE, GREY, drawing
from dsft.tasks import MetricSpec


class SweepPoint(NamedTuple):
    """A converted network before any training.

    Attributes:
        budget: The fraction of the cost that was allowed.
        macs: Multiply-accumulates relative to the original.
        latency: Time of a forward pass relative to the original.
        score: Score on val.
    """

    budget: float
    macs: float
    latency: float
    score: float


def plot_sweep(points: Sequence[SweepPoint], dense_score: float, figure: MetricSpec, path: Path) -> None:
    """Plot the score against the relative cost into a PNG file: against MACs above, against time below.

    Args:
        points: The converted networks.
        dense_score: The score of the original.
        figure: Which score it is.
        path: The PNG file; it is written completely or not at all.
    """
    with drawing(path, height=6.0) as canvas:
        above, below = canvas.subplots(2, 1, sharey=True)
        for axes, costs, label in (
            (above, [point.macs for point in points], "MACs relative to the original"),
            (below, [point.latency for point in points], "time of a forward pass relative to the original"),
        ):
            dense = axes.axhline(figure.points * dense_score, color=GREY, linestyle="--", linewidth=1)
            dense.set_label(f"original: {figure.with_unit(dense_score)}")
            _draw(axes, costs, points, figure)
            axes.set(xlabel=label, ylabel=f"{figure.axis_label} on val")
        # Above the panels, where it covers no point.
        canvas.legend(*above.get_legend_handles_labels(), loc="outside upper center", ncols=2)


def _draw(axes: Axes, costs: Sequence[float], points: Sequence[SweepPoint], figure: MetricSpec) -> None:
    ordered = sorted(zip(costs, points, strict=True), key=lambda each: each[1].budget)
    scores = [figure.points * point.score for _, point in ordered]
    axes.plot([cost for cost, _ in ordered], scores, "o-", color=BLUE, label="converted, labelled by budget")
    for (cost, point), score in zip(ordered, scores, strict=True):
        axes.annotate(f"{point.budget:g}", (cost, score), textcoords="offset points", xytext=(6, -11), fontsize=8)
    axes.set(xlim=(0, max(1.05, max(cost for cost, _ in ordered) * 1.1)))
    axes.margins(y=0.15)
    axes.grid()
