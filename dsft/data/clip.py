"""Clips: videos, as files or as sequences of frames, which are decoded when they are needed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dsft.data.decoding import IMAGE_EXTENSIONS, read_image
from dsft.data.video import VIDEO_EXTENSIONS, VideoFrames
from dsft.errors import DataError

_NUMBER = re.compile(r"([0-9]+)")


@dataclass(frozen=True, eq=False)
class Clip:
    """A video.

    Attributes:
        name: Its name in messages.
        frames: Files of its frames in order, those of a video file, or the frames ``(count, height, width)`` or
            ``(count, height, width, 3)`` as 8-bit integers.
    """

    name: str
    frames: Sequence[Path] | VideoFrames | NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, positions: Sequence[int]) -> NDArray[np.uint8]:
        """Return frames ``(positions, height, width, channels)`` with 1 (grayscale) or 3 (RGB) channels.

        Args:
            positions: Their positions, each 0 or more; a frame may occur several times.

        Raises:
            DataError: A frame cannot be read, or the frames differ in size.
        """
        if isinstance(self.frames, np.ndarray):
            chosen: NDArray[np.uint8] = self.frames[list(positions)]
            return chosen if chosen.ndim == 4 else chosen[..., None]
        if isinstance(self.frames, VideoFrames):
            found = self.frames.read(positions)
            chosen = np.stack([found[position] for position in positions])
            return chosen if chosen.ndim == 4 else chosen[..., None]
        decoded = {position: read_image(self.frames[position]) for position in sorted(set(positions))}
        images = list(decoded.values())
        # Some encoders store a frame without colours as a grayscale image.
        mode = "L" if all(image.mode == "L" for image in images) else "RGB"
        if other := next((image for image in images if image.size != images[0].size), None):
            sizes = " and ".join(f"{image.width} x {image.height}" for image in (images[0], other))
            raise DataError(
                f"{self.name!r}: the frames of a clip must have one size, found {sizes} pixels. Repair or remove it."
            )
        pixels = {position: _pixels(image.convert(mode)) for position, image in decoded.items()}
        return np.stack([pixels[position] for position in positions])


def read_clip(path: Path) -> Clip:
    """Return the clip in a video file, or in a folder of frames.

    Frames have the order of their names, of which numbers count as numbers.

    Raises:
        DataError: The file cannot be read, or PyAV is not installed; or the folder cannot be listed, or has no image
            files.
    """
    if path.suffix.lower() in VIDEO_EXTENSIONS and not path.is_dir():
        frames = VideoFrames(path)
        len(frames)  # unreadable files are found here
        return Clip(str(path), frames)
    try:
        files = [inside for inside in path.iterdir() if _is_frame(inside)]
    except OSError as error:
        raise DataError(
            f"{str(path)!r} cannot be read as a clip: it must be a folder of frames, or a video file with the "
            f"extension {', '.join(sorted(VIDEO_EXTENSIONS))} ({error})."
        ) from error
    if not files:
        raise DataError(f"{str(path)!r} cannot be read as a clip: it contains no image files.")
    return Clip(str(path), sorted(files, key=_order))


def _is_frame(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_EXTENSIONS and not path.name.startswith(".")


def _order(path: Path) -> list[Any]:
    """Return a key by which ``frame_10`` follows ``frame_9``; every second part is a number."""
    return [int(part) if number % 2 else part for number, part in enumerate(_NUMBER.split(path.name))]


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]
