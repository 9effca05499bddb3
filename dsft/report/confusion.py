"""The confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from numpy.typing import NDArray
from torch import Tensor

from dsft.report.figures import ORANGE, drawing, shorten

_MOST_COUNTS = 25  # classes; with more, a count is wider than its cell
_MOST_NAMES = 120  # classes; with more, the names of neighbours overlap


def plot_confusion(confusion: Tensor, classes: Sequence[str], path: Path) -> None:
    """Plot a confusion matrix into a PNG file: rows are true classes, columns predicted ones.

    The shade of a cell is the square root of its share of the true class, so that rare classes and rare mistakes are
    visible. It goes from light to dark, which works with every kind of colour vision. With few classes the counts are
    written into the cells. With very many, the axes are numbered by class and each confused pair is a dot, since a cell
    would be smaller than a pixel.

    Args:
        confusion: Counts ``(classes, classes)``.
        classes: The class names, in order.
        path: The PNG file; it is written completely or not at all.
    """
    counts = confusion.cpu().numpy()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    has_counts, has_names = len(classes) <= _MOST_COUNTS, len(classes) <= _MOST_NAMES
    side = max(3.5, len(classes) * (0.42 if has_counts else 0.16)) if has_names else 7.5
    # At least two pixels for each class.
    dpi = 110 if has_names else max(110, round(2.5 * len(classes) / side))
    with drawing(path, side + 1.5, side, dpi) as figure:
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(True)
        # Without interpolation, which would blur away a single wrong cell among hundreds of classes.
        image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="none")
        figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
        if has_names:
            axes.set(xlabel="predicted class", ylabel="true class")
            _name_classes(axes, classes, size=9 if has_counts else 7)
        else:
            axes.set(xlabel="number of the predicted class", ylabel="number of the true class")
            _dot_mistakes(axes, shares)
        if has_counts:
            _write_counts(axes, counts, shares)


def _name_classes(axes: Axes, classes: Sequence[str], size: int) -> None:
    shown = [shorten(name) for name in classes]
    # parse_math off: a class called $5 is a name, not the start of a formula.
    axes.set_xticks(range(len(shown)), shown, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(range(len(shown)), shown, fontsize=size, parse_math=False)


def _dot_mistakes(axes: Axes, shares: NDArray[np.float64]) -> None:
    rows, columns = np.nonzero(shares * (1 - np.eye(len(shares))))
    axes.scatter(columns, rows, 2 + 60 * shares[rows, columns], color=ORANGE, alpha=0.6, linewidths=0)


def _write_counts(axes: Axes, counts: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.3 else "black"
            size = 8 if count < 10_000 else 6
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=size)
