"""The description of the evaluation transform, used for training, evaluation, prediction and export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

ImageSize = int | tuple[int, int]
"""Side of square images in pixels, or height and width."""


def as_height_and_width(size: ImageSize) -> tuple[int, int]:
    """Return height and width of a size."""
    return (size, size) if isinstance(size, int) else size


@dataclass(frozen=True)
class Preprocessing:
    """The evaluation transform of a model.

    Attributes:
        image_size: Height and width of the model's input in pixels.
        channels: Number of image channels, 1 (grayscale) or 3 (RGB) for image files.
        mean: Mean of each channel for the normalisation, for values from 0 to 1.
        std: Standard deviation of each channel for the normalisation, for values from 0 to 1.
        interpolation: timm's name of the resampling filter, such as ``bicubic``.
        crop_pct: Side of the centre crop as a fraction of the resized image's side, 0 to 1.
        crop_mode: timm's name of the crop mode: ``center``, ``squash`` or ``border``.
    """

    image_size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float
    crop_mode: str

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Create an instance from the result of :meth:`to_dict`."""
        lists = {key: tuple(values[key]) for key in ("image_size", "mean", "std")}
        return cls(**{**values, **lists})
