"""The evaluation transform of models that take images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from dsft.choices import InputKind
from dsft.number_format import plural
from dsft.preprocessing.input_preprocessing import InputPreprocessing

LETTERBOX = "border"
"""timm's name of the crop mode that keeps the aspect ratio of an image, and fills the rest of the input."""

ImageSize = int | tuple[int, int]
"""Side of square images in pixels, or height and width."""


def as_height_and_width(size: ImageSize) -> tuple[int, int]:
    """Return height and width of a size."""
    return (size, size) if isinstance(size, int) else size


@dataclass(frozen=True)
class Preprocessing(InputPreprocessing):
    """The evaluation transform of a model that takes images.

    Attributes:
        image_size: Height and width of the model's input in pixels.
        channels: Number of image channels, 1 (grayscale) or 3 (RGB) for image files.
        mean: Mean of each channel for the normalisation, for values from 0 to 1.
        std: Standard deviation of each channel for the normalisation, for values from 0 to 1.
        interpolation: timm's name of the resampling filter, such as ``bicubic``.
        crop_pct: Side of the centre crop as a fraction of the resized image's side, 0 to 1.
        crop_mode: timm's name of the crop mode: ``center``, ``squash`` or ``border``.
        window_overlap: Images keep their size, and the network runs in windows of ``image_size`` that overlap by this
            fraction, 0 to below 1 (segmentation, restoration); None if it runs on whole images.
    """

    kind: ClassVar = InputKind.IMAGE
    shared_keys: ClassVar = ("channels", "mean", "std")
    size_key: ClassVar = "data.image_size"

    image_size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float
    crop_mode: str
    window_overlap: float | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image_size

    @property
    def description(self) -> str:
        """Height, width and channels."""
        height, width = self.image_size
        return f"{height} x {width} pixels, {plural(self.channels, 'channel')}"

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as JSON values; without windows as versions before them wrote it."""
        values = asdict(self)
        if self.window_overlap is None:
            del values["window_overlap"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Create an instance from the result of :meth:`to_dict`."""
        lists = {key: tuple(values[key]) for key in ("image_size", "mean", "std")}
        return cls(**{**values, **lists})
