"""Boxes around the objects of an image: arrays ``(boxes, 6)``, float32.

The columns are left, top, right and bottom in pixels, the index of the class, and 1 for a crowd: a region of several
objects, which counts neither in the loss nor in the metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dsft.errors import DataError
from dsft.tasks.detection import NO_BOX

Boxes = NDArray[np.float32]
"""``(boxes, 6)``, see :mod:`dsft.data.boxes`."""

_SLACK = 2.0  # pixels by which annotators overshoot the border; such boxes are cut


def as_boxes(rows: Sequence[Sequence[float]]) -> Boxes:
    """Return rows of six numbers as an array, also where there are none."""
    return np.asarray(rows, np.float32).reshape(-1, 6)


def renumber_boxes(boxes: Boxes, numbers: Mapping[int, int]) -> Boxes:
    """Return boxes with their classes mapped to another class table."""
    changed = boxes.copy()
    changed[:, 4] = [numbers[int(number)] for number in boxes[:, 4]]
    return changed


def fit_boxes(boxes: Boxes, size: tuple[int, int], key: str) -> Boxes:
    """Return boxes cut at the border of their image.

    Args:
        boxes: The boxes.
        size: Width and height of the image.
        key: Name of the image, for messages.

    Raises:
        DataError: A box has no area, is not finite, or lies more than 2 pixels outside of the image.
    """
    border = np.array([*size, *size], np.float32)
    corners = np.clip(boxes[:, :4], 0, border)
    is_far = (np.abs(corners - boxes[:, :4]) > _SLACK).any(1) | ~np.isfinite(boxes).all(1)
    is_empty = (corners[:, 2:] <= corners[:, :2]).any(1)
    for is_bad, rule in ((is_far, f"lie in its {size[0]} x {size[1]} pixels"), (is_empty, "have an area")):
        if is_bad.any():
            found = ", ".join(f"{value:g}" for value in boxes[is_bad.argmax(), :4].tolist())
            raise DataError(
                f"image {key!r}: every box must {rule}, found left, top, right, bottom = {found}. Repair the "
                "annotation."
            )
    return np.concatenate([corners, boxes[:, 4:]], 1)


def pad_boxes(boxes: Boxes, room: int) -> Boxes:
    """Return boxes ``(room, 6)``, with a class of -1 in the rows that are added.

    Raises:
        ValueError: There are more boxes.
    """
    padded = np.zeros((room, 6), np.float32)
    padded[:, 4] = NO_BOX
    padded[: len(boxes)] = boxes
    return padded
