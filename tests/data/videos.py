"""Videos as folders of frames, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def moving_bar(direction: int, generator: np.random.Generator, frames: int = 9, side: int = 20) -> NDArray[np.uint8]:
    """Return ``(frames, side, side, 3)``: a bright column on noise that moves by a pixel per frame, right or left."""
    pixels = generator.integers(0, 60, (frames, side, side, 3))
    start = int(generator.integers(5, side - 5))
    for number in range(frames):
        pixels[number, :, (start + direction * number) % side] = 220
    return pixels.astype(np.uint8)


def write_video(folder: Path, frames: NDArray[np.uint8]) -> Path:
    """Write PNG files whose names are in order only if their numbers count as numbers."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame_{number}.png")
    return folder


def write_videos(root: Path, count: int) -> Path:
    """Write ``count`` videos of each of two classes."""
    generator = np.random.default_rng(0)
    for name, direction in (("left", -1), ("right", 1)):
        for number in range(count):
            write_video(root / name / f"video{number:02d}", moving_bar(direction, generator, frames=12))
    return root


def write_film(path: Path, frames: NDArray[np.uint8], codec: str, options: dict[str, str]) -> Path:
    """Write a video file with PyAV.

    Args:
        path: The file, whose ending is its container.
        frames: ``(count, height, width, 3)``.
        codec: FFmpeg's name of the encoder.
        options: Its options, such as ``g``, the distance of key frames, and ``bf``, the number of B-frames.
    """
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path
