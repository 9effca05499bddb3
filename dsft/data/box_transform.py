"""The transform of an image together with its boxes; built from torchvision's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.tv_tensors import Image as ImageTensor  # type: ignore[attr-defined]

from dsft.data.boxes import Boxes, fit_boxes, pad_boxes
from dsft.data.joint_transforms import (
    JointAugmentation,
    JointTransform,
    colour_steps,
    interpolation_of,
    mean_colour,
    normalized,
    unit,
    v2,
)
from dsft.data.placement import Placement, place_image
from dsft.data.transforms import MODES
from dsft.errors import DataError
from dsft.preprocessing import LETTERBOX, Preprocessing
from dsft.tasks.detection import NO_BOX

_LEAST_VISIBLE = 0.3  # of the area of a box in a crop


@dataclass(frozen=True)
class BoxTransform(JointTransform):
    """Transforms an image and its boxes ``(room, 6)``, float32, in pixels of the input; a class of -1 is padding.

    Args:
        preprocessing: The input that the network expects.
        room: Number of rows, at least the number of boxes of any image; with the crop mode ``border`` there is one
            more.
        augmentation: Random augmentation; None for evaluation, in which the whole image is taken.
    """

    preprocessing: Preprocessing
    room: int
    augmentation: JointAugmentation | None = None

    def __call__(self, image: Image.Image, target: Image.Image | Boxes | None, key: str) -> tuple[Tensor, Tensor]:
        """Resize, or crop and flip, both; boxes of which less than 0.3 of the area remain are dropped."""
        if not isinstance(target, np.ndarray):
            raise DataError(f"image {key!r}: has no boxes, which this task needs.")
        boxes = fit_boxes(target, image.size, key)
        given = self.augmentation or JointAugmentation()
        picture = ImageTensor(v2.functional.pil_to_tensor(image.convert(MODES[self.preprocessing.channels])))
        top, left, height, width = self._crop(picture, given.scale)
        place, interpolation = place_image((width, height), self.preprocessing), interpolation_of(self.preprocessing)
        size = [place.height, place.width]
        picture = v2.functional.resized_crop(picture, top, left, height, width, size, interpolation, antialias=True)
        boxes = _moved(boxes, (left, top), (size[1] / width, size[0] / height), size)
        if torch.rand(()) < given.hflip:
            picture = v2.functional.horizontal_flip(picture)
            boxes = np.concatenate([size[1] - boxes[:, 2:3], boxes[:, 1:2], size[1] - boxes[:, :1], boxes[:, 3:]], 1)
        for step in colour_steps(given.color_jitter):
            picture = step(picture)
        picture = fill_border(picture, place, self.preprocessing)
        return normalized(unit(picture), self.preprocessing), torch.from_numpy(self._padded(boxes, place))

    def _padded(self, boxes: Boxes, place: Placement) -> Boxes:
        """Return all rows; with a border around the image one more, which says where the image is."""
        if self.preprocessing.crop_mode != LETTERBOX:
            return pad_boxes(boxes, self.room)
        moved = boxes + np.array([*place.origin * 2, 0, 0], boxes.dtype)
        area = np.array([[*place.sides, NO_BOX, 0]], boxes.dtype)
        return pad_boxes(np.concatenate([moved, area]), self.room + 1)

    def _crop(self, picture: Any, scale: tuple[float, float] | None) -> tuple[int, int, int, int]:
        """Return top, left, height and width of the part that is taken."""
        if scale is None:
            return 0, 0, *picture.shape[-2:]
        chosen = v2.RandomResizedCrop(list(self.preprocessing.image_size), scale=scale).make_params([picture])
        return chosen["top"], chosen["left"], chosen["height"], chosen["width"]


def fill_border(picture: Any, place: Placement, preprocessing: Preprocessing) -> Any:
    """Return a resized image ``(channels, rows, columns)`` in the size of the input, with the mean colour around it."""
    height, width = preprocessing.image_size
    right, below = width - place.left - place.width, height - place.top - place.height
    return v2.functional.pad(picture, [place.left, place.top, right, below], fill=mean_colour(preprocessing))


def _moved(boxes: Boxes, origin: tuple[int, int], scale: tuple[float, float], size: Sequence[int]) -> Boxes:
    """Return the boxes in the pixels of a part of the image that was resized to a height and a width."""
    moved = boxes.copy()
    moved[:, :4] = (boxes[:, :4] - np.array(origin * 2)) * np.array(scale * 2)
    cut = moved.copy()
    cut[:, [0, 2]], cut[:, [1, 3]] = moved[:, [0, 2]].clip(0, size[1]), moved[:, [1, 3]].clip(0, size[0])
    areas = [np.prod(own[:, 2:4] - own[:, :2], axis=1) for own in (cut, moved)]
    kept: Boxes = cut[areas[0] >= _LEAST_VISIBLE * areas[1]]
    return kept
