"""Small images on disk, and a model input for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from dsft.data.sources import ImageFiles
from dsft.preprocessing import Preprocessing


def write_images(root: Path, counts: Mapping[str, int], size: int = 8) -> ImageFiles:
    """Write ``counts[name]`` different images for each class folder and return them as a source."""
    random = np.random.default_rng(len(counts))
    keys = []
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            keys.append(f"{name}/{number:03d}.png")
            pixels = random.integers(0, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / keys[-1])
    targets = tuple(target for target, count in enumerate(counts.values()) for _ in range(count))
    return ImageFiles(root, tuple(counts), tuple(keys), targets)


def model_input(channels: int = 3, size: tuple[int, int] = (8, 8), crop_pct: float = 1.0) -> Preprocessing:
    return Preprocessing(
        image_size=size,
        channels=channels,
        mean=(0.5, 0.4, 0.3)[:channels],
        std=(0.2, 0.25, 0.3)[:channels],
        interpolation="bilinear",
        crop_pct=crop_pct,
        crop_mode="center",
    )
