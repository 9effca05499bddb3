"""Image files from here and there, without labels: what is predicted."""

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
class LooseImages:
    """Image files under the paths by which they were asked for; all are of one class, which means nothing."""

    keys: tuple[str, ...]
    origin: ClassVar[str] = "the paths"
    classes: ClassVar[tuple[str, ...]] = ("unknown",)
    in_memory: ClassVar[bool] = False

    @property
    def targets(self) -> Sequence[int]:
        """The number of the class that means nothing."""
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


def find_images(paths: Iterable[str]) -> LooseImages:
    """Find the image files that paths mean, each once and in their order.

    A folder means every image below it, by its file's ending. A pattern with ``*``, ``?`` or ``[`` means the images
    and folders that it matches, ``**`` any number of folders: Windows' shells leave that to the program. A file means
    itself, whatever its ending.

    Raises:
        DataError: A path is neither, a pattern matches nothing, or a folder has no image.
    """
    found: dict[str, None] = {}
    for path in paths:
        found.update(dict.fromkeys(require_portable(str(file)) for file in _expanded(path)))
    return LooseImages(tuple(found))


def _expanded(path: str) -> list[Path]:
    # A name may begin with ~ as well.
    place = Path(path) if Path(path).exists() else at_home(path)
    if place.is_dir():
        return _required(list_images(place), f"folder {path!r}: holds no image.")
    if place.exists():
        return [place]
    if glob.has_magic(path):
        return _required(_matching(path), f"pattern {path!r}: matches no image.")
    raise DataError(f"{path!r}: an image, a folder or a pattern is needed, and there is no such file.")


def _matching(pattern: str) -> list[Path]:
    # As text: a Path would lose the / at the end, with which a pattern means folders alone.
    found = glob.glob(os.path.expanduser(pattern), recursive=True)  # noqa: PTH111, PTH207
    files: list[Path] = []
    for path in map(Path, sorted(found)):
        files += list_images(path) if path.is_dir() else [path] if is_image(path.name) else []
    return files


def _required(files: list[Path], message: str) -> list[Path]:
    if not files:
        raise DataError(f"{message} Images end in .jpg, .png and the like; a file named by itself may end in anything.")
    return files
