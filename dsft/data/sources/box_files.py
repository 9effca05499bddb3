"""Image files with boxes, whose annotations are read when the data set is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from PIL import Image

from dsft.choices import TargetKind
from dsft.data.boxes import Boxes
from dsft.data.decoding import read_image
from dsft.errors import DataError


@dataclass(frozen=True, eq=False)
class BoxFiles:
    """Image files below a folder, with the boxes of each.

    Attributes:
        root: The folder.
        classes: The class names.
        keys: Paths of the images relative to the folder, with ``/`` as separator.
        annotations: The boxes of each image, or why they cannot be read.
    """

    root: Path
    classes: tuple[str, ...]
    keys: tuple[str, ...]
    annotations: tuple[Boxes | str, ...]
    target_kind: ClassVar[TargetKind] = TargetKind.BOXES
    in_memory: ClassVar[bool] = False

    @property
    def origin(self) -> str:
        """The folder."""
        return str(self.root)

    @cached_property
    def targets(self) -> Sequence[tuple[int, ...]]:
        """The classes of the boxes of each image."""
        return [() if isinstance(boxes, str) else classes_in(boxes) for boxes in self.annotations]

    @cached_property
    def most_boxes(self) -> int:
        """Largest number of boxes of an image."""
        return max((len(boxes) for boxes in self.annotations if not isinstance(boxes, str)), default=0)

    def identity(self, index: int) -> str:
        """Return the size of the image file in bytes, and a checksum of the boxes."""
        boxes = self.annotations[index]
        content = boxes.encode() if isinstance(boxes, str) else boxes.tobytes()
        try:
            size = str((self.root / self.keys[index]).stat().st_size)
        except OSError:
            size = "missing"
        return f"{size}/{hashlib.sha256(content).hexdigest()}"

    def read(self, index: int) -> Image.Image:
        """Decode an image."""
        return read_image(self.root / self.keys[index])

    def read_target(self, index: int) -> Boxes:
        """Return the boxes of an image.

        Raises:
            DataError: Their annotation is damaged.
        """
        boxes = self.annotations[index]
        if isinstance(boxes, str):
            raise DataError(boxes)
        return boxes


def classes_in(boxes: Boxes) -> tuple[int, ...]:
    """Return the classes of boxes that are no crowds, ascending."""
    return tuple(sorted({int(number) for number, is_crowd in boxes[:, 4:] if not is_crowd}))
