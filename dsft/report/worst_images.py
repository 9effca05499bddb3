"""The images on which a network has the lowest scores, with its predictions, in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dsft.evaluation import SeenImage
from dsft.report.figures import drawing, shorten

_CELL = (1.75, 1.7)  # inches of a picture with its caption


def plot_worst(seen: Sequence[SeenImage], keys: Sequence[str], score: str, path: Path) -> None:
    """Draw images, one per row, beside their ground truth and prediction into a PNG file.

    Args:
        seen: At least one.
        keys: Key of each image, by position.
        score: Name of the score.
        path: The PNG file; it is written completely or not at all.
    """
    columns = len(seen[0].pictures)
    with drawing(path, width=_CELL[0] * columns, height=_CELL[1] * len(seen)) as figure:
        grid = figure.subplots(len(seen), columns, squeeze=False)
        for row, image in zip(grid, seen, strict=True):
            for axes, (caption, pixels) in zip(row, image.pictures.items(), strict=True):
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                interpolation = "nearest" if max(pixels.shape[:2]) < 128 else "antialiased"
                axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation=interpolation)
                axes.set_title(caption, fontsize=9, loc="center")
            name = f"{shorten(keys[image.position])}  {score} {image.score:.4g}"
            row[0].set_xlabel(name, fontsize=8, loc="left", parse_math=False)
