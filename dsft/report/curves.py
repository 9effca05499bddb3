"""How a training went, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dsft.report.figures import BLUE, GREEN, GREY, ORANGE, drawing

_LINES: Sequence[tuple[str, Mapping[str, tuple[str, str]]]] = (
    ("loss (nats)", {"train_loss": ("train, as optimised", ORANGE), "val/loss": ("val", BLUE)}),
    ("top-1 on val (%)", {"val/top1": ("val", BLUE)}),
    ("mAP on val", {"val/map": ("val", BLUE)}),
    ("learning rate", {"lr": ("learning rate", GREEN)}),
)
"""The panels from top to bottom: the label of the axis, and for every line its figure, name and colour."""


def plot_curves(history: Sequence[Mapping[str, float]], path: Path, best_epoch: int | None = None) -> None:
    """Draw loss, main score and learning rate over the epochs into a PNG file.

    Args:
        history: The figures of each epoch, as ``metrics.jsonl`` has them; at least one.
        path: The PNG file; it is written whole or not at all.
        best_epoch: The epoch whose weights were kept, counted from 1; None leaves it out.
    """
    panels = [(label, lines) for label, lines in _LINES if any(name in history[0] for name in lines)]
    with drawing(path, height=1.9 * len(panels) + 0.4) as figure:
        grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False).flatten()
        for axes, (label, lines) in zip(grid, panels, strict=True):
            _draw(axes, history, lines)
            axes.set(ylabel=label)
            axes.grid()
            if best_epoch is not None:
                axes.axvline(best_epoch, color=GREY, linestyle="--", linewidth=1, label=f"kept: epoch {best_epoch}")
        # Above the panels, where no line can run through it.
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
        grid[-1].set(xlabel="epoch")
        figure.align_ylabels()
        grid[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _draw(axes: Axes, history: Sequence[Mapping[str, float]], lines: Mapping[str, tuple[str, str]]) -> None:
    # With few epochs the points matter, with many they would hide the line.
    marker = "o" if len(history) <= 30 else ""
    for name, (label, colour) in lines.items():
        points = [(values["epoch"], values[name]) for values in history if name in values]
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=4, label=label)
