"""Transforms of an image together with a ground truth that is a picture; built from torchvision's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2 as _typed_v2
from torchvision.tv_tensors import Image as ImageTensor  # type: ignore[attr-defined]
from torchvision.tv_tensors import Mask  # type: ignore[attr-defined]

from dsft.choices import NO_CLASS
from dsft.data.boxes import Boxes
from dsft.data.transforms import MODES
from dsft.errors import DataError
from dsft.preprocessing import Preprocessing

# torchvision's type hints do not export what its documentation does.
v2: Any = _typed_v2


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
        preprocessing: The input that the network expects. With windows, training takes crops of their size out of the
            image in its own size.
        augmentation: Random augmentation; None for evaluation, in which the image is resized to the input's size.
        full_size: With windows, evaluate whole images instead of the centre of the input's size.
    """

    preprocessing: Preprocessing
    augmentation: JointAugmentation | None = None
    full_size: bool = False

    def __call__(self, image: Image.Image, target: Image.Image | Boxes | None, key: str) -> tuple[Tensor, Tensor]:
        """Resize, or crop and flip, both; masks take the nearest pixel."""
        if not isinstance(target, Image.Image):
            raise DataError(f"image {key!r}: has no mask, which this task needs.")
        _require_same_size(image, target, key, "mask")
        picture = ImageTensor(v2.functional.pil_to_tensor(image.convert(MODES[self.preprocessing.channels])))
        mask = Mask(v2.functional.pil_to_tensor(target))
        for step in self._steps():
            picture, mask = step(picture, mask)
        return normalized(unit(picture), self.preprocessing), mask.squeeze(0).long().as_subclass(Tensor)

    def _steps(self) -> list[Any]:
        size, interpolation = list(self.preprocessing.image_size), interpolation_of(self.preprocessing)
        given, has_windows = self.augmentation, self.preprocessing.window_overlap is not None
        resize = v2.Resize(size, interpolation, antialias=True)
        if given is None:
            if not has_windows:
                return [resize]
            return [] if self.full_size else [self._fill, v2.CenterCrop(size)]
        if given.scale is not None:
            geometry = [v2.RandomResizedCrop(size, scale=given.scale, interpolation=interpolation, antialias=True)]
        else:
            geometry = [self._fill, v2.RandomCrop(size)] if has_windows else [resize]
        return [*geometry, v2.RandomHorizontalFlip(given.hflip), *colour_steps(given.color_jitter)]

    def _fill(self, picture: Any, mask: Any) -> tuple[Any, Any]:
        """Enlarge an image that is smaller than the input: with the mean colour, and without a class."""
        own = self.preprocessing
        missing = [max(side - length, 0) for side, length in zip(own.image_size, picture.shape[-2:], strict=True)]
        padding = [0, 0, missing[1], missing[0]]
        filled = v2.functional.pad(picture, padding, fill=mean_colour(own))
        return filled, v2.functional.pad(mask, padding, fill=NO_CLASS)


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
        mode = MODES[self.preprocessing.channels]
        clean = target if isinstance(target, Image.Image) else image
        _require_same_size(image, clean, key, "target")
        pair = torch.stack([unit(v2.functional.pil_to_tensor(each.convert(mode))) for each in (image, clean)])
        for step in self._steps():
            pair = step(pair)
        picture, truth = pair[0], pair[1].clone()
        if self.degradation is not None:
            picture = degrade(truth, self.degradation)
        return normalized(picture, self.preprocessing), truth

    def _steps(self) -> list[Any]:
        size = list(self.preprocessing.image_size)
        if self.augmentation is None:
            return [] if self.full_size else [v2.CenterCrop(size)]
        crop = v2.RandomCrop(size, pad_if_needed=True, padding_mode="reflect")
        return [crop, v2.RandomHorizontalFlip(self.augmentation.hflip)]


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


def _require_same_size(image: Image.Image, other: Image.Image, key: str, name: str) -> None:
    if image.size != other.size:
        (width, height), (other_width, other_height) = image.size, other.size
        raise DataError(
            f"image {key!r}: must have the size of its {name}, found {width} x {height} and a {name} of "
            f"{other_width} x {other_height} pixels. Repair or remove it."
        )


def mean_colour(preprocessing: Preprocessing) -> list[float]:
    """Return the mean of each channel, 0 to 255, with which timm fills borders."""
    return [float(round(255 * mean)) for mean in preprocessing.mean]


def unit(picture: Tensor) -> Tensor:
    """Return an 8-bit image with values from 0 to 1."""
    return picture.as_subclass(Tensor).float() / 255


def normalized(picture: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return an image with values from 0 to 1 as the network takes it."""
    normalized: Tensor = v2.functional.normalize(picture, list(preprocessing.mean), list(preprocessing.std))
    return normalized


def interpolation_of(preprocessing: Preprocessing) -> Any:
    """Return torchvision's resampling filter."""
    return v2.InterpolationMode(preprocessing.interpolation)


def colour_steps(strength: float) -> list[Any]:
    """Return the jitter of brightness, contrast and saturation; none for a strength of 0."""
    return [v2.ColorJitter(strength, strength, strength)] if strength else []
