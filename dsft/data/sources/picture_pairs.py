"""Pairs of images or volumes and their ground truth, found in two parallel folders."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from dsft.choices import InputKind, SplitName
from dsft.data.decoding import IMAGE_EXTENSIONS
from dsft.data.inputs import INPUTS
from dsft.data.sources.folder import list_files, require_folder, split_folders
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
    """Image or volume files with files of their ground truth, in a folder.

    Attributes:
        root: The folder of the split.
        classes: The names of the classes, or of the channels of an output that is an image.
        pairs: The files.
    """

    root: Path
    classes: tuple[str, ...]
    pairs: tuple[PicturePair, ...]
    in_memory: ClassVar[bool] = False
    input_kind: ClassVar[InputKind] = InputKind.IMAGE

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

    def read(self, index: int) -> Any:
        """Decode an image or a volume."""
        return INPUTS[self.input_kind].read_file(self.pairs[index].image)


def find_pairs(
    root: Path, images: str, targets: str, report: Report, extensions: Collection[str] = IMAGE_EXTENSIONS
) -> dict[SplitName, tuple[Path, tuple[PicturePair, ...]]]:
    """Find the folders of each split and the pairs in them.

    Args:
        root: The folder that contains both folders, or the folders of splits that contain them.
        images: Name of the folder of images.
        targets: Name of the folder of the ground truth, with the same paths except for the extension.
        report: Receives which folder is used for which split.
        extensions: The endings of the files.

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
    return {split: (folder, _pairs(folder, images, targets, extensions)) for split, folder in folders.items()}


def _pairs(folder: Path, images: str, targets: str, extensions: Collection[str]) -> tuple[PicturePair, ...]:
    first, second = (_by_stem(folder, name, extensions) for name in (images, targets))
    if not first:
        endings = ", ".join(sorted(extensions))
        raise DataError(f"data: {str(folder / images)!r} contains no files with one of the extensions {endings}.")
    for here, there, name in ((first, second, targets), (second, first, images)):
        if lonely := sorted(here.keys() - there.keys()):
            raise DataError(
                f"data: each image needs a file of the same name in {str(folder / name)!r}, found none for "
                f"{len(lonely):,} files, such as {lonely[0]!r}. Add them, or remove the others."
            )
    return tuple(
        PicturePair(path.relative_to(folder / images).as_posix(), path, second[stem]) for stem, path in first.items()
    )


def _by_stem(folder: Path, name: str, extensions: Collection[str]) -> Mapping[str, Path]:
    inside = folder / name
    if not inside.is_dir():
        raise DataError(f"data: {str(folder)!r} must contain a folder {name!r}, found none.")
    return {
        _without_extension(path.relative_to(inside).as_posix(), extensions): path
        for path in list_files(inside, extensions)
    }


def _without_extension(key: str, extensions: Collection[str]) -> str:
    # .nii.gz has two parts.
    ending = max((each for each in extensions if key.lower().endswith(each)), key=len)
    return key[: -len(ending)]
