"""A reader of the preprocessing steps beside an exported file that uses Pillow and numpy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def load_by_hand(path: Path, steps: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
    """Return the input tensor of an image file, ``(1, channels, height, width)``."""
    decode, *rest = steps
    assert decode["op"] == "decode"
    assert decode["apply_exif_orientation"]
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file).convert(decode["mode"])
    values: NDArray[np.float32] = np.empty(0, np.float32)
    for step in rest:
        match step["op"]:
            case "resize":
                height, width = _resized(image.height, image.width, step)
                image = image.resize((width, height), FILTERS[step["interpolation"]])
            case "center_crop":
                image = _cropped(image, step)
            case "to_float32":
                values = np.atleast_3d(np.asarray(image)).astype(np.float32) / np.float32(step["divide_by"])
            case "normalize":
                values = (values - np.float32(step["mean"])) / np.float32(step["std"])
            case "layout":
                values = values.transpose(2, 0, 1)[None]
            case other:
                raise AssertionError(other)
    return values


def _resized(height: int, width: int, step: Mapping[str, Any]) -> tuple[int, int]:
    size = step["size"]
    match step["rule"]:
        case "exact":
            return size[0], size[1]
        case "shorter_side":
            longer = int(size * max(height, width) / min(height, width))
            return (size, longer) if height <= width else (longer, size)
        case "keep_ratio":
            ratio = (min if step["covers"] else max)(height / size[0], width / size[1])
            return round(height / ratio), round(width / ratio)
    raise AssertionError(step["rule"])


def _cropped(image: Image.Image, step: Mapping[str, Any]) -> Image.Image:
    height, width = step["size"]
    gaps = max(height - image.height, 0), max(width - image.width, 0)
    if any(gaps):
        border = (gaps[1] // 2, gaps[0] // 2, (gaps[1] + 1) // 2, (gaps[0] + 1) // 2)
        fill = step["fill"]
        image = ImageOps.expand(image, border, tuple(fill) if isinstance(fill, list) and len(fill) > 1 else fill)
    top, left = round((image.height - height) / 2), round((image.width - width) / 2)
    return image.crop((left, top, left + width, top + height))
