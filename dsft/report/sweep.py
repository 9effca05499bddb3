"""The curve from which a budget is picked: accuracy against cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes

from dsft.report.figures import BLUE, GREY, drawing
from dsft.tasks import Figure


class SweepPoint(NamedTuple):
    """A converted network, before any training.

    Attributes:
        budget: Share of the cost that was allowed.
        macs: Multiply-accumulates, as a share of the original's.
        latency: Time of one pass, as a share of the original's.
        score: On val.
    """

    budget: float
    macs: float
    latency: float
    score: float


def plot_sweep(points: Sequence[SweepPoint], dense_score: float, figure: Figure, path: Path) -> None:
    """Draw a score against the share of the cost that is left into a PNG file: by MACs above, by time below.

    Args:
        points: The converted networks.
        dense_score: That of the original.
        figure: Which score it is.
        path: The PNG file; it is written whole or not at all.
    """
    dense = f"original: {figure.words(dense_score)}"
    with drawing(path, height=6.0) as canvas:
        above, below = canvas.subplots(2, 1, sharey=True)
        for axes, costs, label in (
            (above, [point.macs for point in points], "MACs, share of the original's"),
            (below, [point.latency for point in points], "time of a pass, share of the original's"),
        ):
            axes.axhline(dense_score, color=GREY, linestyle="--", linewidth=1, label=dense)
            _draw(axes, list(zip(costs, points, strict=True)))
            axes.set(xlabel=label, ylabel=f"{figure.label} (%)")
            axes.legend(loc="lower right")
        above.set_title("before any training, on val; labels: the budget")


def _draw(axes: Axes, points: Sequence[tuple[float, SweepPoint]]) -> None:
    ordered = sorted(points, key=lambda each: each[1].budget)
    axes.plot([cost for cost, _ in ordered], [point.score for _, point in ordered], "o-", color=BLUE, label="converted")
    for cost, point in ordered:
        axes.annotate(f"{point.budget:g}", (cost, point.score), textcoords="offset points", xytext=(6, -11), fontsize=8)
    axes.set(xlim=(0, max(1.05, max(cost for cost, _ in ordered) * 1.1)))
    axes.margins(y=0.15)
    axes.grid()
