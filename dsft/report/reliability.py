"""Reliability diagrams: accuracy by confidence, as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dsft.metrics import Reliability
from dsft.report.figures import BLUE, GREY, ORANGE, drawing

_AXES = ("confidence (highest probability)", "accuracy (fraction correct)", "share (%)")


def plot_reliability(
    found: Reliability,
    path: Path,
    scaled: Reliability | None = None,
    axes_labels: tuple[str, str, str] = _AXES,
) -> None:
    """Plot accuracy against confidence into a PNG file, above the share of images in each bin of confidence.

    Args:
        found: Accuracy and confidence of each bin.
        path: The PNG file; it is written completely or not at all.
        scaled: The same after temperature scaling, or None.
        axes_labels: Labels of the x axis, of the y axis, and of the axis of the shares.
    """
    across, upwards, counted = axes_labels
    edges = np.linspace(0, 1, len(found.counts) + 1)
    middles, width = (edges[1:] + edges[:-1]) / 2, edges[1]
    with drawing(path, height=5.0) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.plot([0, 1], [0, 1], "--", color=GREY, label="calibrated")
        counts = np.array(found.counts)
        filled = counts > 0
        accuracy = np.array(found.accuracy)
        upper.bar(
            middles[filled], accuracy[filled], width * 0.9, color=BLUE, label=f"measured, ECE {100 * found.error:.1f} %"
        )
        lower.bar(middles, 100 * counts / counts.sum(), width * 0.9, color=BLUE)
        if scaled is not None:
            used = np.array(scaled.counts) > 0
            points = np.array(scaled.confidence)[used], np.array(scaled.accuracy)[used]
            upper.plot(*points, "o-", color=ORANGE, label=f"at the fitted temperature, ECE {100 * scaled.error:.1f} %")
        upper.set(ylabel=upwards, ylim=(0, 1.02), xlim=(0, 1))
        lower.set(xlabel=across, ylabel=counted)
        # Above the panels, where it covers no bar.
        figure.legend(*upper.get_legend_handles_labels(), loc="outside upper center", ncols=2)
        for axes in (upper, lower):
            axes.grid(axis="y")
