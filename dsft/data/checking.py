"""Check every image of a data set: find damaged files, duplicates and images that are in two splits."""

from __future__ import annotations

import hashlib
import os
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from PIL.Image import Image

from dsft.choices import SplitName
from dsft.data.boxes import fit_boxes
from dsft.data.splits import Split
from dsft.errors import DataError
from dsft.progress import Report, ignore, report_task

_AT_ONCE = 256  # images in memory; a photograph has tens of megabytes


@dataclass(frozen=True)
class CorruptImage:
    """An image that cannot be read, with the reason."""

    split: SplitName
    key: str
    message: str


@dataclass(frozen=True)
class SplitContents:
    """Statistics of a split.

    Attributes:
        images: Number of images.
        classes: Number of images of each class, by name.
        widths: Smallest, median and largest width of the readable images, in pixels; None if there are none.
        heights: The same for the heights.
        grayscale: Number of grayscale images.
    """

    images: int
    classes: Mapping[str, int]
    widths: tuple[int, int, int] | None
    heights: tuple[int, int, int] | None
    grayscale: int


@dataclass(frozen=True)
class SameImage:
    """Images with identical pixels, each given by split, key and class."""

    places: tuple[tuple[SplitName, str, str], ...]

    @property
    def is_leak(self) -> bool:
        """Whether the images are in more than one split."""
        return len({split for split, _, _ in self.places}) > 1

    @property
    def is_contradiction(self) -> bool:
        """Whether the images have different classes or labels."""
        return len({label for _, _, label in self.places}) > 1


@dataclass(frozen=True)
class DataCheck:
    """The result of a check.

    Attributes:
        splits: Statistics by split.
        corrupt: The images that cannot be read.
        same: The groups of identical images.
    """

    splits: Mapping[SplitName, SplitContents]
    corrupt: tuple[CorruptImage, ...]
    same: tuple[SameImage, ...]

    @property
    def is_clean(self) -> bool:
        """Whether all images can be read and none is in two splits."""
        return not self.corrupt and not any(same.is_leak for same in self.same)

    def count_leaks(self) -> dict[tuple[SplitName, SplitName], int]:
        """Return the number of distinct images that each pair of splits shares; pairs without any are omitted."""
        pairs: Counter[tuple[SplitName, SplitName]] = Counter()
        for same in self.same:
            present = {split for split, _, _ in same.places}
            pairs.update(combinations([split for split in SplitName if split in present], 2))
        return dict(pairs)


@dataclass
class _Statistics:
    """Statistics of the images of a split that were read so far."""

    widths: list[int] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    grayscale: int = 0


def check_images(splits: Sequence[Split], report: Report = ignore) -> DataCheck:
    """Read every image of the given splits, and compare their pixels.

    Args:
        splits: Splits with the same class table.
        report: Receives the progress, in images.
    """
    corrupt: list[CorruptImage] = []
    places: dict[bytes, list[tuple[SplitName, str, str]]] = {}
    seen = {split.name: _Statistics() for split in splits}
    with report_task(report, "checking images", sum(map(len, splits)), "images") as advance:
        for done, (split, position, found) in enumerate(_read(splits), 1):
            key, label = split.keys[position], split.name_labels(position)
            if isinstance(found, _Read):
                seen[split.name].widths.append(found.width)
                seen[split.name].heights.append(found.height)
                seen[split.name].grayscale += found.is_grayscale
                places.setdefault(found.digest, []).append((split.name, key, label))
            else:
                corrupt.append(CorruptImage(split.name, key, found))
            advance(done)
    same = tuple(SameImage(tuple(each)) for each in places.values() if len(each) > 1)
    return DataCheck({split.name: _contents(split, seen[split.name]) for split in splits}, tuple(corrupt), same)


@dataclass(frozen=True)
class _Read:
    digest: bytes
    width: int
    height: int
    is_grayscale: bool


def _read(splits: Sequence[Split]) -> Iterator[tuple[Split, int, _Read | str]]:
    """Yield every image of every split in order, with its properties or the reason why it cannot be read."""
    places = [(split, position) for split in splits for position in range(len(split))]
    # Threads suffice, since Pillow releases the GIL while it decodes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(places), _AT_ONCE):
            part = places[start : start + _AT_ONCE]
            for (split, position), found in zip(part, pool.map(_examine, part), strict=True):
                yield split, position, found


def _examine(place: tuple[Split, int]) -> _Read | str:
    split, position = place
    try:
        image, target = split.source.read(split.indices[position]), split.read_target(position)
        _require_fitting(image, target, split.keys[position])
    except DataError as error:
        return str(error)
    # Of the pixels and not of the file, so that losslessly re-encoded copies are found too.
    digest = hashlib.sha256(f"{image.mode}{image.size}".encode() + image.tobytes()).digest()
    return _Read(digest, *image.size, image.mode == "L")


def _require_fitting(image: Image, target: object, key: str) -> None:
    if isinstance(target, np.ndarray):
        fit_boxes(target, image.size, key)
    if isinstance(target, Image) and target.size != image.size:
        found = " and ".join(f"{width} x {height}" for width, height in (image.size, target.size))
        raise DataError(f"the image and its ground truth must have the same size, found {found} pixels.")


def _contents(split: Split, seen: _Statistics) -> SplitContents:
    return SplitContents(
        len(split),
        dict(zip(split.classes, split.count_classes(), strict=True)),
        _spread(seen.widths),
        _spread(seen.heights),
        seen.grayscale,
    )


def _spread(sizes: Sequence[int]) -> tuple[int, int, int] | None:
    return (min(sizes), statistics.median_low(sizes), max(sizes)) if sizes else None
