"""Pairs of images and other pictures, found in two parallel folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from PIL import Image

from dsft.choices import SplitName
from dsft.data.decoding import read_image
from dsft.data.sources.folder import list_images, require_folder, split_folders
from dsft.data.sources.naming import describe_splits
from dsft.errors import DataError
from dsft.progress import Report


@dataclass(frozen=True)
class PicturePair:
    """An image and the picture that is its ground truth.

    Attributes:
        key: Path of the image relative to its folder, with ``/`` as separator.
        image: The image file.
        target: The file of the ground truth.
    """

    key: str
    image: Path
    target: Path


@dataclass(frozen=True)
class PairedFiles:
    """Image files with files of their ground truth, in a folder.

    Attributes:
        root: The folder of the split.
        classes: The names of the classes, or of the channels of an output that is an image.
        pairs: The files.
    """

    root: Path
    classes: tuple[str, ...]
    pairs: tuple[PicturePair, ...]
    in_memory: ClassVar[bool] = False

    @property
    def origin(self) -> str:
        """The folder."""
        return str(self.root)

    @property
    def keys(self) -> Sequence[str]:
        """The paths of the images relative to their folder."""
        return [pair.key for pair in self.pairs]

    @property
    def targets(self) -> Sequence[tuple[int, ...]]:
        """An empty set for each image, which as a whole has no class."""
        return [()] * len(self.pairs)

    def identity(self, index: int) -> str:
        """Return the sizes of both files in bytes."""
        pair = self.pairs[index]
        try:
            return f"{pair.image.stat().st_size}/{pair.target.stat().st_size}"
        except OSError:
            return "missing"

    def read(self, index: int) -> Image.Image:
        """Decode an image."""
        return read_image(self.pairs[index].image)


def find_pairs(
    root: Path, images: str, targets: str, report: Report
) -> dict[SplitName, tuple[Path, tuple[PicturePair, ...]]]:
    """Find the folders of each split and the pairs in them.

    Args:
        root: The folder that contains both folders, or the folders of splits that contain them.
        images: Name of the folder of images.
        targets: Name of the folder of the ground truth, with the same paths except for the extension.
        report: Receives which folder is used for which split.

    Returns:
        The folder and the pairs of each split; undivided data is ``train``.

    Raises:
        DataError: A folder is missing or empty, or a file has no counterpart.
    """
    require_folder(root)
    is_whole = (root / images).is_dir() and (root / targets).is_dir()
    folders = {SplitName.TRAIN: root} if is_whole else split_folders(root)
    if not folders:
        raise DataError(
            f"data.root {str(root)!r}: must contain the folders {images!r} and {targets!r}, or train, val and test "
            "with these folders in them."
        )
    if not is_whole:
        report(describe_splits(folders))
    return {split: (folder, _pairs(folder, images, targets)) for split, folder in folders.items()}


def _pairs(folder: Path, images: str, targets: str) -> tuple[PicturePair, ...]:
    first, second = _by_stem(folder, images), _by_stem(folder, targets)
    if not first:
        raise DataError(f"data: {str(folder / images)!r} contains no images.")
    for here, there, name in ((first, second, targets), (second, first, images)):
        if lonely := sorted(here.keys() - there.keys()):
            raise DataError(
                f"data: each image needs a file of the same name in {str(folder / name)!r}, found none for "
                f"{len(lonely):,} files, such as {lonely[0]!r}. Add them, or remove the others."
            )
    return tuple(
        PicturePair(path.relative_to(folder / images).as_posix(), path, second[stem]) for stem, path in first.items()
    )


def _by_stem(folder: Path, name: str) -> Mapping[str, Path]:
    inside = folder / name
    if not inside.is_dir():
        raise DataError(f"data: {str(folder)!r} must contain a folder {name!r}, found none.")
    return {path.relative_to(inside).with_suffix("").as_posix(): path for path in list_images(inside)}
