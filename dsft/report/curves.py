"""Losses, scores and learning rate by epoch, as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dsft.report.figures import BLUE, GREEN, GREY, ORANGE, drawing
from dsft.tasks import MetricSpec

History = Sequence[Mapping[str, float]]
"""The figures of each epoch, as in ``metrics.jsonl``."""


class _Curve(NamedTuple):
    figure: str
    label: str
    colour: str


class _Panel(NamedTuple):
    label: str
    curves: Sequence[_Curve]
    scale: float = 1.0


_TRAIN, _VAL = _Curve("train_loss", "train", ORANGE), _Curve("val/loss", "val", BLUE)
_RATE = _Panel("learning rate", [_Curve("lr", "learning rate", GREEN)])


def plot_losses(history: History, path: Path, best_epoch: int | None = None, *, is_comparable: bool = True) -> None:
    """Plot training and validation loss over the epochs into a PNG file.

    Args:
        history: At least one epoch.
        path: The PNG file; it is written completely or not at all.
        best_epoch: The epoch whose weights were kept, counted from 1; None leaves it out.
        is_comparable: The training loss is measured as the validation loss is. Otherwise, as with distillation, mixup
            or label smoothing, each has axes of its own.
    """
    together = [_Panel("loss", [_TRAIN, _VAL])]
    apart = [_Panel("training loss", [_TRAIN]), _Panel("validation loss", [_VAL])]
    _plot(history, path, together if is_comparable else apart, best_epoch)


def plot_scores(history: History, path: Path, score: MetricSpec, best_epoch: int | None = None) -> None:
    """Plot a validation score and the learning rate over the epochs into a PNG file.

    Args:
        history: At least one epoch.
        path: The PNG file; it is written completely or not at all.
        score: The main metric of the task.
        best_epoch: The epoch whose weights were kept, counted from 1; None leaves it out.
    """
    panel = _Panel(score.axis_label, [_Curve(f"val/{score.name}", "val", BLUE)], score.points)
    _plot(history, path, [panel, _RATE], best_epoch)


def _plot(history: History, path: Path, panels: Sequence[_Panel], best_epoch: int | None) -> None:
    shown = [panel for panel in panels if any(curve.figure in history[0] for curve in panel.curves)]
    # Both pictures of a run have the same height, so that they fit side by side.
    with drawing(path, height=4.2) as figure:
        grid = figure.subplots(len(shown), 1, sharex=True, squeeze=False).flatten()
        for axes, panel in zip(grid, shown, strict=True):
            _draw(axes, history, panel)
        handles = {label: line for axes in grid for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        if best_epoch is not None:
            lines = [axes.axvline(best_epoch, color=GREY, linestyle="--", linewidth=1) for axes in grid]
            handles[f"weights: epoch {best_epoch}"] = lines[0]
        # Above the panels, where it covers no line.
        figure.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=3)
        grid[-1].set(xlabel="epoch")
        figure.align_ylabels()
        grid[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _draw(axes: Axes, history: History, panel: _Panel) -> None:
    # With few epochs the points are informative, with many they would hide the line.
    marker = "o" if len(history) <= 30 else ""
    for curve in panel.curves:
        points = [(epoch["epoch"], panel.scale * epoch[curve.figure]) for epoch in history if curve.figure in epoch]
        axes.plot(*zip(*points, strict=True), color=curve.colour, marker=marker, markersize=4, label=curve.label)
    axes.set(ylabel=panel.label)
    axes.grid()
