"""Images and how they should look: folders ``input`` and ``target``, or clean images that are degraded when read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from PIL import Image

from dsft.choices import SplitName, TargetKind
from dsft.data.decoding import read_image
from dsft.data.sources.folder import list_images, require_folder, split_folders
from dsft.data.sources.images import ImageSource
from dsft.data.sources.picture_pairs import PairedFiles, PicturePair, find_pairs
from dsft.errors import DataError
from dsft.progress import Report, ignore
from dsft.storage import at_home

CHANNEL_NAMES: Mapping[str, tuple[str, ...]] = {"L": ("grey",), "RGB": ("red", "green", "blue")}
"""Names of the outputs of a network that restores images, by the mode of the images."""


@dataclass(frozen=True)
class PairFiles(PairedFiles):
    """Image files with files of their ground truth, which are the same files if the images are clean.

    Attributes:
        root: The folder of the split.
        classes: The names of the channels.
        pairs: The files.
        is_clean: The images are clean and have no other ground truth.
    """

    is_clean: bool
    target_kind: ClassVar[TargetKind] = TargetKind.IMAGE

    def read_target(self, index: int) -> Image.Image | None:
        """Decode how the image should look; None if it is clean."""
        return None if self.is_clean else read_image(self.pairs[index].target)


def open_pairs(root: Path, *, is_clean: bool, report: Report = ignore) -> Mapping[SplitName, ImageSource]:
    """Return the splits of a folder of images to restore.

    Args:
        root: A folder with the folders ``input`` and ``target``, or of clean images at any depth; or a folder with
            ``train`` and optionally ``val`` and ``test`` that contain these.
        is_clean: The images are clean, and are degraded when they are read.
        report: Receives which folder is used for which split.

    Raises:
        DataError: A folder is missing or empty, or an image has no counterpart.
    """
    root = at_home(root)
    found = _clean(root) if is_clean else find_pairs(root, "input", "target", report)
    classes = _channels(found[SplitName.TRAIN][1])
    return {name: PairFiles(folder, classes, pairs, is_clean) for name, (folder, pairs) in found.items()}


def _clean(root: Path) -> dict[SplitName, tuple[Path, tuple[PicturePair, ...]]]:
    require_folder(root)
    folders = split_folders(root, must_have_folders=False) or {SplitName.TRAIN: root}
    found = {}
    for split, folder in folders.items():
        files = list_images(folder)
        if not files:
            raise DataError(f"data: {str(folder)!r} contains no images.")
        pairs = (PicturePair(file.relative_to(folder).as_posix(), file, file) for file in files)
        found[split] = (folder, tuple(pairs))
    return found


def _channels(pairs: Sequence[PicturePair]) -> tuple[str, ...]:
    """Return the channels of the first readable images: grey if all of them are."""
    step = max(len(pairs) // 16, 1)
    modes = set()
    for pair in pairs[::step]:
        try:
            modes.add(read_image(pair.target).mode)
        except DataError:  # the loader handles unreadable images
            continue
    return CHANNEL_NAMES["L" if modes == {"L"} else "RGB"]
