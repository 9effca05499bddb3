"""The images that a network is most confidently wrong about, on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from dsft.data import Split
from dsft.evaluation import Evaluation
from dsft.report.figures import ORANGE, WIDTH, drawing, shorten

MOST_MISTAKES = 24
NO_LABEL = "no label"
"""How an image is described that has none of several labels."""

_COLUMNS = 3
_SIDE = 256  # pixels of the largest picture that is drawn


@dataclass(frozen=True)
class Mistake:
    """An image with a wrong answer: its position in the split, truth and answer, and the probability of the answer."""

    position: int
    target: str
    predicted: str
    probability: float


def worst_mistakes(evaluation: Evaluation, most: int = MOST_MISTAKES) -> list[Mistake]:
    """List the mistakes that the network was surest of, the surest first."""
    rows = zip(evaluation.positions.tolist(), evaluation.right.tolist(), evaluation.name_answers(), strict=True)
    wrong = [Mistake(position, *answer) for position, is_right, answer in rows if not is_right]
    return sorted(wrong, key=lambda mistake: -mistake.probability)[:most]


def plot_mistakes(mistakes: Sequence[Mistake], split: Split, path: Path) -> None:
    """Draw images with their true and predicted class into a PNG file.

    Args:
        mistakes: At least one.
        split: Where the images are.
        path: The PNG file; it is written whole or not at all.
    """
    columns = min(len(mistakes), _COLUMNS)
    rows = -(-len(mistakes) // columns)
    with drawing(path, width=max(WIDTH / _COLUMNS * columns, 2.2), height=2.3 * rows) as figure:
        grid = figure.subplots(rows, columns, squeeze=False).flatten()
        for axes in grid:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        for axes, mistake in zip(grid, mistakes, strict=False):
            _draw(axes, mistake, split)


def _draw(axes: Axes, mistake: Mistake, split: Split) -> None:
    pixels = _thumbnail(split, mistake.position)
    # Pixels of a tiny image are shown as they are, not blurred.
    smoothing = "nearest" if max(pixels.shape[:2]) < 64 else "antialiased"
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation=smoothing)
    axes.set_title(f"is {shorten(mistake.target or NO_LABEL, 20)}", fontsize=9, loc="center", parse_math=False)
    guess = f"taken for {shorten(mistake.predicted or NO_LABEL, 12)}\n{100 * mistake.probability:.1f} % sure"
    axes.set_xlabel(guess, fontsize=9, color=ORANGE, parse_math=False)


def _thumbnail(split: Split, position: int) -> NDArray[np.uint8]:
    image = split.source.read(split.indices[position])
    image.thumbnail((_SIDE, _SIDE))
    return np.asarray(image)
