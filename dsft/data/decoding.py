"""Decode image files to grayscale or RGB with 8 bits per channel and the EXIF orientation applied."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from dsft.errors import DataError

IMAGE_EXTENSIONS = frozenset(
    {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
_GRAYSCALE_MODES = {"1", "L", "LA", "La"}
_LARGEST_16_BIT = 65535
_FIRST_TURNED = 5  # EXIF orientations from here on exchange width and height


def read_image(path: Path) -> Image.Image:
    """Decode an image file, see :func:`decode_image`."""
    return decode_image(path, str(path))


def decode_image(content: Path | bytes, name: str) -> Image.Image:
    """Decode an image as an image viewer displays it.

    The EXIF orientation is applied, 16-bit grayscale is scaled to 8 bits, CMYK and palette images are converted to
    RGB, and the alpha channel is dropped, as timm and torchvision do.

    Args:
        content: The file, or its content.
        name: Name of the image in error messages.

    Returns:
        An image in mode ``L`` or ``RGB``, fully decoded.

    Raises:
        DataError: The file is missing, truncated, damaged or not an image.
    """
    with _decoding(name), warnings.catch_warnings():
        # Pillow warns about damaged metadata of each image; only the pixels matter here.
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
            image.load()
            return _to_eight_bits(_upright(image))


def open_image(path: Path) -> Image.Image:
    """Return an image file as it is stored, without any conversion, such as a mask of class indices.

    Raises:
        DataError: The file is missing, truncated, damaged or not an image.
    """
    with _decoding(str(path)), Image.open(path) as image:
        image.load()
        return image.copy()


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height of an image as :func:`read_image` returns it; only the header of the file is read.

    Raises:
        DataError: The file is missing, or its header is damaged.
    """
    with _decoding(str(path)), Image.open(path) as image:
        is_turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= _FIRST_TURNED
        return (image.height, image.width) if is_turned else (image.width, image.height)


@contextlib.contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Raise a DataError that names the image for any error of Pillow."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise errors of many types
        raise DataError(
            f"{name!r} cannot be read as an image ({type(error).__name__}: {error}). Repair or remove it."
        ) from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged metadata, valid pixels
        return image


def _to_eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.float64).clip(0, _LARGEST_16_BIT)
        return Image.fromarray(np.rint(levels * (255 / _LARGEST_16_BIT)).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("the range of floating-point pixels is unknown; save it with 8 or 16 bits")
    return image.convert("L" if image.mode in _GRAYSCALE_MODES else "RGB")
