"""The confusion matrix as a picture."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from dsft.storage import write_bytes

_MOST_COUNTS = 25  # classes; with more, a count is wider than its cell
_MOST_NAMES = 120  # classes; with more, the names of neighbours overlap
_LONGEST_NAME = 24  # characters


def plot_confusion(confusion: Tensor, classes: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix into a PNG file: rows are truths, columns predictions.

    A cell's shade is the square root of its share of the true class, so that rare classes and rare mistakes
    are seen; it goes from light to dark, which is read with every kind of colour vision. With few classes
    the counts are written into the cells; with very many the axes are numbered by class.

    Args:
        confusion: Counts ``(classes, classes)``.
        classes: The class names, in order.
        path: The PNG file; it is written whole or not at all.
    """
    counts = confusion.cpu().numpy()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    has_counts = len(classes) <= _MOST_COUNTS
    side = float(np.clip(len(classes) * (0.5 if has_counts else 0.16), 3.5, 20))
    figure = Figure(figsize=(side + 1.5, side), layout="constrained", dpi=110)
    axes = figure.add_subplot()
    # Without interpolation: among hundreds of classes a single wrong cell must not be blurred away.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="none")
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    if len(classes) <= _MOST_NAMES:
        axes.set(xlabel="predicted class", ylabel="true class")
        _name_classes(axes, classes, size=9 if has_counts else 7)
    else:
        axes.set(xlabel="number of the predicted class", ylabel="number of the true class")
    if has_counts:
        _write_counts(axes, counts, shares)
    write_bytes(path, _png(figure))


def _name_classes(axes: Axes, classes: Sequence[str], size: int) -> None:
    shown = [name if len(name) <= _LONGEST_NAME else f"{name[:12]}…{name[-11:]}" for name in classes]
    # parse_math off: a class called $5 is a name, not the start of a formula.
    axes.set_xticks(range(len(shown)), shown, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(range(len(shown)), shown, fontsize=size, parse_math=False)


def _write_counts(axes: Axes, counts: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.3 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; confusion.csv has it in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()
