"""Where an image lies in the input of a detection network: the whole of it, or a part with the image's aspect ratio."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dsft.data.boxes import Boxes
from dsft.preprocessing import LETTERBOX, Preprocessing


class Placement(NamedTuple):
    """The part of an input that an image was resized to; the rest is filled with the mean colour.

    Attributes:
        top: First row.
        left: First column.
        height: Number of rows.
        width: Number of columns.
    """

    top: int
    left: int
    height: int
    width: int

    @property
    def origin(self) -> tuple[int, int]:
        """Left and top."""
        return self.left, self.top

    @property
    def sides(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    def from_image(self, boxes: Boxes, size: tuple[int, int]) -> Boxes:
        """Return boxes in pixels of the input.

        Args:
            boxes: ``(boxes, columns)``, the first four in pixels of the image; the others are kept.
            size: Width and height of the image.
        """
        moved = boxes.copy()
        moved[:, :4] = boxes[:, :4] * self._scale(size) + np.array(self.origin * 2, boxes.dtype)
        return moved

    def to_image(self, boxes: Boxes, size: tuple[int, int]) -> Boxes:
        """Return boxes in pixels of the image, cut at its border; the inverse of :meth:`from_image`."""
        moved = boxes.copy()
        moved[:, :4] = (boxes[:, :4] - np.array(self.origin * 2, boxes.dtype)) / self._scale(size)
        moved[:, :4] = moved[:, :4].clip(0, np.array(size * 2, boxes.dtype))
        return moved

    def _scale(self, size: tuple[int, int]) -> Boxes:
        scale: Boxes = np.array([self.width / size[0], self.height / size[1]] * 2)
        return scale


def place_image(size: tuple[int, int], preprocessing: Preprocessing) -> Placement:
    """Return where an image lies in the input.

    With the crop mode ``border`` the image is resized to the largest size that fits, and centred, as timm does it;
    otherwise it is resized to the whole input.

    Args:
        size: Width and height of the image.
        preprocessing: The input.
    """
    height, width = preprocessing.image_size
    if preprocessing.crop_mode != LETTERBOX:
        return Placement(0, 0, height, width)
    ratio = max(size[1] / height, size[0] / width)
    rows, columns = (min(max(round(side / ratio), 1), most) for side, most in ((size[1], height), (size[0], width)))
    return Placement((height - rows) // 2, (width - columns) // 2, rows, columns)
