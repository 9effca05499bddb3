"""The curve from which a budget is picked: accuracy against cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes

from dsft.report.figures import BLUE, GREY, drawing


class SweepPoint(NamedTuple):
    """A converted network, before any training.

    Attributes:
        budget: Share of the cost that was allowed.
        macs: Multiply-accumulates, as a share of the original's.
        latency: Time of one pass, as a share of the original's.
        top1: On val, in percent.
    """

    budget: float
    macs: float
    latency: float
    top1: float


def plot_sweep(points: Sequence[SweepPoint], dense_top1: float, path: Path) -> None:
    """Draw top-1 against the share of the cost that is left into a PNG file: by MACs above, by time below.

    Args:
        points: The converted networks.
        dense_top1: Top-1 of the original, in percent.
        path: The PNG file; it is written whole or not at all.
    """
    with drawing(path, height=6.0) as figure:
        above, below = figure.subplots(2, 1, sharey=True)
        _draw(above, [(point.macs, point) for point in points], dense_top1, "MACs, share of the original's")
        _draw(
            below, [(point.latency, point) for point in points], dense_top1, "time of a pass, share of the original's"
        )
        above.set_title("before any training, on val; labels: the budget")


def _draw(axes: Axes, points: Sequence[tuple[float, SweepPoint]], dense_top1: float, label: str) -> None:
    ordered = sorted(points, key=lambda each: each[1].budget)
    axes.axhline(dense_top1, color=GREY, linestyle="--", linewidth=1, label=f"original: {dense_top1:.1f} %")
    axes.plot([cost for cost, _ in ordered], [point.top1 for _, point in ordered], "o-", color=BLUE, label="converted")
    for cost, point in ordered:
        axes.annotate(f"{point.budget:g}", (cost, point.top1), textcoords="offset points", xytext=(6, -11), fontsize=8)
    axes.set(xlabel=label, ylabel="top-1 (%)", xlim=(0, max(1.05, max(cost for cost, _ in ordered) * 1.1)))
    axes.margins(y=0.15)
    axes.grid()
    axes.legend(loc="lower right")
