"""How an image becomes a tensor: one frozen description, used to train, evaluate, predict and export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Preprocessing:
    """The evaluation transform of a model.

    Attributes:
        image_size: Height and width of the model's input, in pixels.
        channels: Number of image channels, 1 (grayscale) or 3 (RGB) for image files.
        mean: Mean of each channel that is subtracted, on the scale 0 to 1.
        std: Standard deviation of each channel that is divided by, on the scale 0 to 1.
        interpolation: timm's name of the resampling filter, such as ``bicubic``.
        crop_pct: Share of the resized image's side that the centre crop keeps, 0 to 1.
        crop_mode: timm's name of how the crop is taken: ``center``, ``squash`` or ``border``.
    """

    image_size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float
    crop_mode: str

    def to_dict(self) -> dict[str, Any]:
        """Return the description as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Rebuild the description that :meth:`to_dict` returned."""
        lists = {key: tuple(values[key]) for key in ("image_size", "mean", "std")}
        return cls(**{**values, **lists})
