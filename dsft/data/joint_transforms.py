"""Transforms of an image together with its ground truth, a picture or boxes; built from torchvision's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2 as _typed_v2
from torchvision.tv_tensors import Image as ImageTensor  # type: ignore[attr-defined]
from torchvision.tv_tensors import Mask  # type: ignore[attr-defined]

from dsft.choices import TargetKind
from dsft.data.boxes import Boxes, fit_boxes, pad_boxes
from dsft.errors import DataError
from dsft.preprocessing import Preprocessing

# torchvision's type hints do not export what its documentation does.
v2: Any = _typed_v2

_MODES = {1: "L", 3: "RGB"}
_LEAST_VISIBLE = 0.3  # of the area of a box in a crop


@dataclass(frozen=True)
class JointAugmentation:
    """Random augmentation that moves an image and its ground truth together.

    Attributes:
        scale: Smallest and largest fraction of the image's area in a random resized crop; None takes the whole image.
        hflip: Probability of a horizontal flip, 0 to 1.
        color_jitter: Strength of brightness, contrast and saturation jitter of the image alone; 0 for none.
    """

    scale: tuple[float, float] | None = None
    hflip: float = 0.0
    color_jitter: float = 0.0


@dataclass(frozen=True)
class Degradation:
    """How a clean image becomes the input of a network that restores it.

    Attributes:
        noise: Standard deviation of Gaussian noise, for pixels from 0 to 255.
        downscale: Factor by which the image is reduced and enlarged again with a bicubic filter; 1 for none.
    """

    noise: float = 0.0
    downscale: int = 1


class JointTransform(ABC):
    """Converts an image and its ground truth to tensors; picklable, as worker processes need it."""

    @abstractmethod
    def __call__(self, image: Image.Image, target: Image.Image | Boxes | None, key: str) -> tuple[Tensor, Tensor]:
        """Return the network's input ``(channels, height, width)``, float32, and the target.

        Args:
            image: The image.
            target: Its ground truth, see :class:`dsft.data.sources.DenseSource` and
                :class:`dsft.data.sources.BoxSource`.
            key: Name of the image, for messages.

        Raises:
            DataError: The two do not fit together.
        """


@dataclass(frozen=True)
class MaskTransform(JointTransform):
    """Transforms an image and its mask ``(height, width)``, int64, in which 255 is no class.

    Args:
        preprocessing: The input that the network expects.
        augmentation: Random augmentation; None for evaluation, in which the image is resized to the input's size.
    """

    preprocessing: Preprocessing
    augmentation: JointAugmentation | None = None

    def __call__(self, image: Image.Image, target: Image.Image | Boxes | None, key: str) -> tuple[Tensor, Tensor]:
        """Resize, or crop and flip, both; masks take the nearest pixel."""
        if not isinstance(target, Image.Image):
            raise DataError(f"image {key!r}: has no mask, which this task needs.")
        _require_same_size(image, target, key, "mask")
        picture = ImageTensor(v2.functional.pil_to_tensor(image.convert(_MODES[self.preprocessing.channels])))
        mask = Mask(v2.functional.pil_to_tensor(target))
        for step in self._steps():
            picture, mask = step(picture, mask)
        return _normalized(_unit(picture), self.preprocessing), mask.squeeze(0).long().as_subclass(Tensor)

    def _steps(self) -> list[Any]:
        size, interpolation = list(self.preprocessing.image_size), _interpolation(self.preprocessing)
        given = self.augmentation
        if given is None:
            return [v2.Resize(size, interpolation, antialias=True)]
        geometry = (
            v2.Resize(size, interpolation, antialias=True)
            if given.scale is None
            else v2.RandomResizedCrop(size, scale=given.scale, interpolation=interpolation, antialias=True)
        )
        return [geometry, v2.RandomHorizontalFlip(given.hflip), *_colour_steps(given.color_jitter)]


@dataclass(frozen=True)
class RestorationTransform(JointTransform):
    """Transforms a clean image into a degraded one and itself ``(channels, height, width)``, 0 to 1.

    Where the ground truth is a file of its own, the image is degraded already.

    Args:
        preprocessing: The input that the network expects.
        degradation: What is done to clean images.
        augmentation: Random augmentation; the crop has the input's size and is not resized. None for evaluation.
        full_size: Evaluate whole images, whatever their size, instead of the centre of the input's size.
    """

    preprocessing: Preprocessing
    degradation: Degradation | None
    augmentation: JointAugmentation | None = None
    full_size: bool = False

    def __call__(self, image: Image.Image, target: Image.Image | Boxes | None, key: str) -> tuple[Tensor, Tensor]:
        """Crop and flip both, then degrade."""
        mode = _MODES[self.preprocessing.channels]
        clean = target if isinstance(target, Image.Image) else image
        _require_same_size(image, clean, key, "target")
        pair = torch.stack([_unit(v2.functional.pil_to_tensor(each.convert(mode))) for each in (image, clean)])
        for step in self._steps():
            pair = step(pair)
        picture, truth = pair[0], pair[1].clone()
        if self.degradation is not None:
            picture = degrade(truth, self.degradation)
        return _normalized(picture, self.preprocessing), truth

    def _steps(self) -> list[Any]:
        size = list(self.preprocessing.image_size)
        if self.augmentation is None:
            return [] if self.full_size else [v2.CenterCrop(size)]
        crop = v2.RandomCrop(size, pad_if_needed=True, padding_mode="reflect")
        return [crop, v2.RandomHorizontalFlip(self.augmentation.hflip)]


@dataclass(frozen=True)
class BoxTransform(JointTransform):
    """Transforms an image and its boxes ``(room, 6)``, float32, in pixels of the input; a class of -1 is padding.

    Args:
        preprocessing: The input that the network expects.
        room: Number of rows, at least the number of boxes of any image.
        augmentation: Random augmentation; None for evaluation, in which the image is resized to the input's size.
    """

    preprocessing: Preprocessing
    room: int
    augmentation: JointAugmentation | None = None

    def __call__(self, image: Image.Image, target: Image.Image | Boxes | None, key: str) -> tuple[Tensor, Tensor]:
        """Resize, or crop and flip, both; boxes of which less than 0.3 remain are dropped."""
        if not isinstance(target, np.ndarray):
            raise DataError(f"image {key!r}: has no boxes, which this task needs.")
        boxes = fit_boxes(target, image.size, key)
        given = self.augmentation or JointAugmentation()
        picture = ImageTensor(v2.functional.pil_to_tensor(image.convert(_MODES[self.preprocessing.channels])))
        top, left, height, width = self._crop(picture, given.scale)
        size, interpolation = list(self.preprocessing.image_size), _interpolation(self.preprocessing)
        picture = v2.functional.resized_crop(picture, top, left, height, width, size, interpolation, antialias=True)
        boxes = _moved(boxes, (left, top), (size[1] / width, size[0] / height), size)
        if torch.rand(()) < given.hflip:
            picture = v2.functional.horizontal_flip(picture)
            boxes = np.concatenate([size[1] - boxes[:, 2:3], boxes[:, 1:2], size[1] - boxes[:, :1], boxes[:, 3:]], 1)
        for step in _colour_steps(given.color_jitter):
            picture = step(picture)
        return _normalized(_unit(picture), self.preprocessing), torch.from_numpy(pad_boxes(boxes, self.room))

    def _crop(self, picture: Any, scale: tuple[float, float] | None) -> tuple[int, int, int, int]:
        """Return top, left, height and width of the part that is taken."""
        if scale is None:
            return 0, 0, *picture.shape[-2:]
        chosen = v2.RandomResizedCrop(list(self.preprocessing.image_size), scale=scale).make_params([picture])
        return chosen["top"], chosen["left"], chosen["height"], chosen["width"]


def joint_transform(
    kind: TargetKind,
    preprocessing: Preprocessing,
    degradation: Degradation | None = None,
    *,
    augmentation: JointAugmentation | None = None,
    full_size: bool = False,
    most_boxes: int = 0,
) -> JointTransform:
    """Return the transform for a kind of ground truth.

    Args:
        kind: A mask, boxes or an image.
        preprocessing: The input that the network expects.
        degradation: What is done to clean images.
        augmentation: Random augmentation; None for evaluation.
        full_size: See :class:`RestorationTransform`.
        most_boxes: See :attr:`BoxTransform.room`.
    """
    if kind is TargetKind.BOXES:
        # At least one row, so that no tensor is empty.
        return BoxTransform(preprocessing, max(most_boxes, 1), augmentation)
    if kind is TargetKind.MASK:
        return MaskTransform(preprocessing, augmentation)
    return RestorationTransform(preprocessing, degradation, augmentation, full_size)


@dataclass(frozen=True)
class PictureTransform:
    """Converts an image without ground truth to an input, as the evaluation transform of its task does.

    Args:
        preprocessing: The input that the network expects.
        kind: The ground truth of the task; an image is not resized where that is an image.
    """

    preprocessing: Preprocessing
    kind: TargetKind

    def __call__(self, image: Image.Image) -> Tensor:
        """Return ``(channels, height, width)``, float32."""
        picture = v2.functional.pil_to_tensor(image.convert(_MODES[self.preprocessing.channels]))
        if self.kind in (TargetKind.MASK, TargetKind.BOXES):
            size, interpolation = list(self.preprocessing.image_size), _interpolation(self.preprocessing)
            picture = v2.functional.resize(picture, size, interpolation, antialias=True)
        return _normalized(_unit(picture), self.preprocessing)


def degrade(clean: Tensor, degradation: Degradation) -> Tensor:
    """Return a degraded copy of an image ``(channels, height, width)`` with values from 0 to 1.

    The noise comes from the global random generator of torch; the result is not clipped.
    """
    degraded = clean.clone()
    if degradation.downscale > 1:
        height, width = clean.shape[-2:]
        small = [max(side // degradation.downscale, 1) for side in (height, width)]
        images = functional.interpolate(clean[None], small, mode="bicubic", antialias=True)
        degraded = functional.interpolate(images, (height, width), mode="bicubic")[0].clamp(0, 1)
    return degraded + torch.randn(degraded.shape) * (degradation.noise / 255)


def _moved(boxes: Boxes, origin: tuple[int, int], scale: tuple[float, float], size: Sequence[int]) -> Boxes:
    """Return the boxes in the pixels of a part of the image that was resized to a height and a width."""
    moved = boxes.copy()
    moved[:, :4] = (boxes[:, :4] - np.array(origin * 2)) * np.array(scale * 2)
    cut = moved.copy()
    cut[:, [0, 2]], cut[:, [1, 3]] = moved[:, [0, 2]].clip(0, size[1]), moved[:, [1, 3]].clip(0, size[0])
    areas = [np.prod(own[:, 2:4] - own[:, :2], axis=1) for own in (cut, moved)]
    kept: Boxes = cut[areas[0] >= _LEAST_VISIBLE * areas[1]]
    return kept


def _require_same_size(image: Image.Image, other: Image.Image, key: str, name: str) -> None:
    if image.size != other.size:
        (width, height), (other_width, other_height) = image.size, other.size
        raise DataError(
            f"image {key!r}: must have the size of its {name}, found {width} x {height} and a {name} of "
            f"{other_width} x {other_height} pixels. Repair or remove it, or skip such images with "
            "data.bad_images=skip."
        )


def _unit(picture: Tensor) -> Tensor:
    return picture.as_subclass(Tensor).float() / 255


def _normalized(picture: Tensor, preprocessing: Preprocessing) -> Tensor:
    normalized: Tensor = v2.functional.normalize(picture, list(preprocessing.mean), list(preprocessing.std))
    return normalized


def _interpolation(preprocessing: Preprocessing) -> Any:
    return v2.InterpolationMode(preprocessing.interpolation)


def _colour_steps(strength: float) -> list[Any]:
    return [v2.ColorJitter(strength, strength, strength)] if strength else []
