"""Images, as Pillow has them: with 8 bits per channel, in mode ``L`` or ``RGB``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dsft.choices import InputKind
from dsft.data.decoding import IMAGE_EXTENSIONS, read_image
from dsft.data.inputs.input_type import InputType, Measures, Packed
from dsft.data.preprocessing_steps import describe_steps
from dsft.data.transforms import Transform, evaluation_transform
from dsft.preprocessing import InputPreprocessing, Preprocessing


class ImageInput(InputType):
    """Implements :class:`InputType`; an example is an image."""

    kind: ClassVar = InputKind.IMAGE
    extensions: ClassVar = IMAGE_EXTENSIONS
    default_channels: ClassVar = 3
    measures: ClassVar = Measures({"widths": 0, "heights": 0}, {"grayscale": False})

    def read_file(self, path: Path) -> Image.Image:
        """Decode an image file."""
        return read_image(path)

    def count_channels(self, example: Image.Image) -> int:
        """Return 1 or 3."""
        return 1 if example.mode == "L" else 3

    def content(self, example: Image.Image) -> bytes:
        """Return mode, size and pixels; not the file, so that losslessly re-encoded copies are equal."""
        return f"{example.mode}{example.size}".encode() + example.tobytes()

    def measure(self, example: Image.Image) -> Measures:
        """Return width and height, and whether the image is grayscale."""
        return Measures(
            {"widths": example.width, "heights": example.height},
            {"grayscale": example.mode == "L"},
        )

    def picture(self, example: Image.Image, largest: int) -> NDArray[np.uint8]:
        """Return the image, reduced if it is larger."""
        example.thumbnail((largest, largest))
        return np.asarray(example)

    def pack(self, example: Image.Image) -> Packed | None:
        """Return the pixels, and width, height and channels."""
        if example.mode not in ("L", "RGB"):
            return None
        return Packed(np.asarray(example).ravel(), (example.width, example.height, len(example.getbands())))

    def unpack(self, packed: Packed) -> Image.Image:
        """Return the image."""
        width, height, channels = packed.header
        return Image.frombytes("L" if channels == 1 else "RGB", (width, height), packed.content.tobytes())

    def evaluation_transform(self, preprocessing: InputPreprocessing) -> Transform:
        """Return timm's transform."""
        return evaluation_transform(cast("Preprocessing", preprocessing))

    def describe_steps(self, preprocessing: InputPreprocessing) -> list[dict[str, Any]]:
        """Return the steps of timm's transform."""
        return describe_steps(cast("Preprocessing", preprocessing))
