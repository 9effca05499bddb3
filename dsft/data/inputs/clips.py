"""Clips of videos, as files or as folders with one image file for each frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dsft.choices import InputKind
from dsft.data.clip import Clip, read_clip
from dsft.data.clip_transforms import ClipTransform, describe_clip_steps
from dsft.data.decoding import IMAGE_EXTENSIONS
from dsft.data.inputs.input_type import InputType, Measures, Packed
from dsft.data.transforms import Transform
from dsft.data.video import VIDEO_EXTENSIONS
from dsft.preprocessing import ClipPreprocessing, InputPreprocessing

_SHOWN = 4
"""Frames of a picture, in two rows."""

_LINE = 160
"""Grey level of the lines between them."""


class ClipInput(InputType):
    """Implements :class:`InputType`; an example is a :class:`dsft.data.clip.Clip`."""

    kind: ClassVar = InputKind.CLIP
    extensions: ClassVar = VIDEO_EXTENSIONS
    folder_extensions: ClassVar = IMAGE_EXTENSIONS
    default_channels: ClassVar = 3
    measures: ClassVar = Measures({"frames": 0, "widths": 0, "heights": 0}, {"grayscale": False})

    def read_file(self, path: Path) -> Clip:
        """Return the clip in a file or a folder of frames, which are not decoded yet."""
        return read_clip(path)

    def count_channels(self, example: Clip) -> int:
        """Return 1 or 3, those of the first frame."""
        return int(example.read([0]).shape[-1])

    def content(self, example: Clip) -> bytes:
        """Return shape and pixels of all frames."""
        pixels = example.read(range(len(example)))
        return f"{pixels.shape}".encode() + pixels.tobytes()

    def measure(self, example: Clip) -> Measures:
        """Return the number of frames, and the size of the first one and whether it is grayscale."""
        _, height, width, channels = example.read([0]).shape
        return Measures({"frames": len(example), "widths": width, "heights": height}, {"grayscale": channels == 1})

    def picture(self, example: Clip, largest: int) -> NDArray[np.uint8]:
        """Return four frames from the first to the last, in two rows."""
        positions = np.linspace(0, len(example) - 1, _SHOWN).round().astype(int).tolist()
        first, second, third, last = (_reduced(frame, (largest - 1) // 2) for frame in example.read(positions))
        beside = np.full_like(first[:, :1], _LINE)
        rows = [np.concatenate([left, beside, right], 1) for left, right in ((first, second), (third, last))]
        return np.concatenate([rows[0], np.full_like(rows[0][:1], _LINE), rows[1]])

    def pack(self, example: Clip) -> Packed | None:
        """Return None: a video has many more frames than a clip takes, and would fill the cache with them."""
        del example
        return None

    def unpack(self, packed: Packed) -> Clip:
        """Raise an error, since clips are not packed."""
        raise NotImplementedError("clips are not packed")

    def evaluation_transform(self, preprocessing: InputPreprocessing) -> Transform:
        """Return the transform that takes the middle of a video."""
        return ClipTransform(cast("ClipPreprocessing", preprocessing))

    def describe_steps(self, preprocessing: InputPreprocessing) -> list[dict[str, Any]]:
        """Return the steps of the transform."""
        return describe_clip_steps(cast("ClipPreprocessing", preprocessing))


def _reduced(frame: NDArray[np.uint8], largest: int) -> NDArray[np.uint8]:
    image = Image.fromarray(frame.squeeze(-1) if frame.shape[-1] == 1 else frame)
    image.thumbnail((largest, largest))
    return np.asarray(image)
