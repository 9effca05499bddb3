"""Cost, time and error of each convolution before and after a conversion, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from dsft.choices import Decision
from dsft.report.figures import BLUE, GREY, ORANGE, drawing, shorten

Layer = Mapping[str, Any]
"""A layer of ``conversion.json``."""


def plot_layers(layers: Sequence[Layer], path: Path) -> None:
    """Plot cost, time and error of every convolution into a PNG file.

    A converted layer has a light bar for its cost before and a dark one for its cost after, a kept layer a grey bar.

    Args:
        layers: The layers of ``conversion.json``; at least one.
        path: The PNG file; it is written completely or not at all.
    """
    has_times = any(layer["latency_ms_before"] is not None for layer in layers)
    has_errors = any(layer["relative_error"] is not None for layer in layers)
    with drawing(path, width=8.0, height=1.3 + 0.2 * len(layers), dpi=120) as figure:
        grid = figure.subplots(1, 1 + has_times + has_errors, sharey=True, squeeze=False).flatten().tolist()
        _draw_pairs(grid[0], layers, "macs", "MACs (million)", 1e-6)
        if has_times:
            _draw_pairs(grid[1], layers, "latency_ms", "time (ms)", 1.0)
        if has_errors:
            _draw_errors(grid[-1], layers)
        names = [shorten(layer["name"], 32) or "(the network)" for layer in layers]
        grid[0].set_yticks(range(len(layers)), names, fontsize=8, parse_math=False)
        grid[0].set_ylim(len(layers) - 0.4, -0.6)  # the first layer on top
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3)


def _draw_pairs(axes: Axes, layers: Sequence[Layer], figure: str, label: str, scale: float) -> None:
    converted = {row: layer for row, layer in enumerate(layers) if layer["decision"] == Decision.CONVERTED}
    kept = {row: layer for row, layer in enumerate(layers) if row not in converted}
    for rows, when, height, colour, name in (
        (kept, "before", 0.7, GREY, "kept dense"),
        (converted, "before", 0.7, "#9ecae1", "before"),
        (converted, "after", 0.35, BLUE, "after"),
    ):
        # Kept layers are not timed.
        values = {row: layer[f"{figure}_{when}"] for row, layer in rows.items()}
        known = {row: value * scale for row, value in values.items() if value is not None}
        axes.barh(list(known), list(known.values()), height, color=colour, label=name)
    axes.set(xlabel=label)
    axes.grid(axis="x")


def _draw_errors(axes: Axes, layers: Sequence[Layer]) -> None:
    errors = {row: layer["relative_error"] for row, layer in enumerate(layers) if layer["relative_error"] is not None}
    axes.plot(list(errors.values()), list(errors), "o", color=ORANGE, markersize=4)
    axes.set(xlabel="relative error")
    axes.set_xlim(0, max(1e-6, 1.08 * max(errors.values())))
    axes.grid(axis="x")
