"""Unlabelled image files, for prediction and calibration."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from PIL import Image

from dsft.data.decoding import read_image
from dsft.data.sources.folder import is_image, list_images, require_portable
from dsft.errors import DataError
from dsft.storage import at_home


@dataclass(frozen=True)
class UnlabelledImages:
    """Image files, each with its path as the key; all have one placeholder class."""

    keys: tuple[str, ...]
    origin: ClassVar[str] = "the given paths"
    classes: ClassVar[tuple[str, ...]] = ("unknown",)
    in_memory: ClassVar[bool] = False

    @property
    def targets(self) -> Sequence[int]:
        """The index of the placeholder class for each image."""
        return (0,) * len(self.keys)

    def identity(self, index: int) -> str:
        """Return the size of the file in bytes."""
        try:
            return str(Path(self.keys[index]).stat().st_size)
        except OSError:
            return "missing"

    def read(self, index: int) -> Image.Image:
        """Decode one file (see :func:`dsft.data.decoding.read_image`)."""
        return read_image(Path(self.keys[index]))


def find_images(paths: Iterable[str]) -> UnlabelledImages:
    """Find image files, each once and in the order of the paths.

    A path is a file (with any extension), a folder (all files below it with the extension of an image), or a pattern
    with ``*``, ``?``, ``[`` or ``**`` that matches files and folders, since the shells of Windows do not expand
    patterns.

    Raises:
        DataError: A path does not exist, a pattern matches nothing, or a folder contains no images.
    """
    found: dict[str, None] = {}
    for path in paths:
        found.update(dict.fromkeys(require_portable(str(file)) for file in _expanded(path)))
    return UnlabelledImages(tuple(found))


def _expanded(path: str) -> list[Path]:
    # The name of a file may start with ~.
    place = Path(path) if Path(path).exists() else at_home(path)
    if place.is_dir():
        return _required(list_images(place), f"folder {path!r}: contains no images.")
    if place.exists():
        return [place]
    if glob.has_magic(path):
        return _required(_matching(path), f"pattern {path!r}: matches no images.")
    raise DataError(f"{path!r}: must be an image, a folder or a pattern, and there is no such file or folder.")


def _matching(pattern: str) -> list[Path]:
    # As text, since Path drops a trailing /, with which a pattern matches folders only.
    found = glob.glob(os.path.expanduser(pattern), recursive=True)  # noqa: PTH111, PTH207
    files: list[Path] = []
    for path in map(Path, sorted(found)):
        files += list_images(path) if path.is_dir() else [path] if is_image(path.name) else []
    return files


def _required(files: list[Path], message: str) -> list[Path]:
    if not files:
        raise DataError(f"{message} Images in folders need an extension such as .jpg or .png.")
    return files
