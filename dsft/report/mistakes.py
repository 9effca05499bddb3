"""The images that a network is most confidently wrong about, in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from dsft.data import Split
from dsft.evaluation import Evaluation
from dsft.report.figures import ORANGE, drawing, shorten

MOST_MISTAKES = 24
NO_LABEL = "no label"
"""Description of an image without any of several labels."""

COLUMNS = 6
"""Images in a row of the picture."""

_SIDE, _LABELS = 1.6, 0.55  # inches of an image and of the labels above and below it
_LARGEST_SIDE = 256  # pixels of an image as it is drawn


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction.

    Attributes:
        position: Position of the image in the split.
        target: The true class, or classes.
        predicted: The predicted class, or classes.
        probability: The predicted probability.
    """

    position: int
    target: str
    predicted: str
    probability: float


def worst_mistakes(evaluation: Evaluation, most: int = MOST_MISTAKES) -> list[Mistake]:
    """List the wrong predictions with the highest probabilities, the highest first."""
    rows = zip(
        evaluation.positions.tolist(), evaluation.is_correct.tolist(), evaluation.name_predictions(), strict=True
    )
    wrong = [Mistake(position, *answer) for position, is_right, answer in rows if not is_right]
    return sorted(wrong, key=lambda mistake: -mistake.probability)[:most]


def plot_mistakes(mistakes: Sequence[Mistake], split: Split, path: Path) -> None:
    """Draw images with their true and predicted class into a PNG file, up to six in a row.

    Args:
        mistakes: At least one.
        split: The split with the images.
        path: The PNG file; it is written completely or not at all.
    """
    pictures = [_thumbnail(split, mistake.position) for mistake in mistakes]
    columns = min(len(mistakes), COLUMNS)
    rows = -(-len(mistakes) // columns)
    # Pictures of signals are wider than high, and leave no room between the rows.
    share = min(max(len(pixels) / pixels.shape[1] for pixels in pictures), 1.0)
    height = (_SIDE * share + _LABELS) * rows
    with drawing(path, width=max(_SIDE * columns, 2.2), height=height) as figure:
        grid = figure.subplots(rows, columns, squeeze=False).flatten()
        for axes in grid:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        for axes, mistake, pixels in zip(grid, mistakes, pictures, strict=False):
            _draw(axes, mistake, pixels)


def _draw(axes: Axes, mistake: Mistake, pixels: NDArray[np.uint8]) -> None:
    # A tiny image is drawn with sharp pixels rather than blurred.
    interpolation = "nearest" if max(pixels.shape[:2]) < 64 else "antialiased"
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation=interpolation)
    axes.set_title(f"true: {shorten(mistake.target or NO_LABEL, 16)}", fontsize=9, loc="center", parse_math=False)
    predicted = f"predicted: {shorten(mistake.predicted or NO_LABEL, 12)}\n{100 * mistake.probability:.1f} %"
    axes.set_xlabel(predicted, fontsize=9, color=ORANGE, parse_math=False)


def _thumbnail(split: Split, position: int) -> NDArray[np.uint8]:
    return split.input_type.picture(split.source.read(split.indices[position]), _LARGEST_SIDE)
