"""Read every image of a data set once, to find what would spoil a run: damaged files, and images in two splits."""

from __future__ import annotations

import hashlib
import os
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations

from dsft.choices import SplitName
from dsft.data.splits import Split
from dsft.errors import DataError
from dsft.progress import Report, ignore, report_task

_AT_ONCE = 256  # images under way; a picture of a camera has tens of megabytes


@dataclass(frozen=True)
class CorruptImage:
    """An image that cannot be read, and why."""

    split: SplitName
    key: str
    message: str


@dataclass(frozen=True)
class SplitContents:
    """What a split holds.

    Attributes:
        images: Images that it lists.
        classes: Images of each class, by name.
        widths: Smallest, median and largest width of those that can be read, in pixels; None where there is none.
        heights: Likewise.
        grayscale: Those without colour.
    """

    images: int
    classes: Mapping[str, int]
    widths: tuple[int, int, int] | None
    heights: tuple[int, int, int] | None
    grayscale: int


@dataclass(frozen=True)
class SameImage:
    """Images with the same pixels, each as its split, key and class."""

    places: tuple[tuple[SplitName, str, str], ...]

    @property
    def is_leak(self) -> bool:
        """Whether they are in more than one split."""
        return len({split for split, _, _ in self.places}) > 1

    @property
    def is_contradiction(self) -> bool:
        """Whether they are of more than one class, or have other labels."""
        return len({label for _, _, label in self.places}) > 1


@dataclass(frozen=True)
class DataCheck:
    """What is in a data set, and what is wrong with it.

    Attributes:
        splits: Contents by split.
        corrupt: The images that cannot be read.
        same: Images that are there more than once.
    """

    splits: Mapping[SplitName, SplitContents]
    corrupt: tuple[CorruptImage, ...]
    same: tuple[SameImage, ...]

    @property
    def is_clean(self) -> bool:
        """Whether every image can be read and none is in two splits."""
        return not self.corrupt and not any(same.is_leak for same in self.same)

    def count_leaks(self) -> dict[tuple[SplitName, SplitName], int]:
        """Return how many different images each two splits have in common, where they have any."""
        pairs: Counter[tuple[SplitName, SplitName]] = Counter()
        for same in self.same:
            present = {split for split, _, _ in same.places}
            pairs.update(combinations([split for split in SplitName if split in present], 2))
        return dict(pairs)


@dataclass
class _Seen:
    """What has been read so far of a split."""

    widths: list[int] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    grayscale: int = 0


def check_images(splits: Sequence[Split], report: Report = ignore) -> DataCheck:
    """Read every image of some splits, and compare their pixels.

    Args:
        splits: Under one class table.
        report: Receives the progress, in images.
    """
    corrupt: list[CorruptImage] = []
    places: dict[bytes, list[tuple[SplitName, str, str]]] = {}
    seen = {split.name: _Seen() for split in splits}
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
    """Yield every image of every split, in order: what was read, or why it could not be."""
    places = [(split, position) for split in splits for position in range(len(split))]
    # Threads: Pillow decodes outside of Python's lock, and nothing has to be sent between processes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(places), _AT_ONCE):
            part = places[start : start + _AT_ONCE]
            for (split, position), found in zip(part, pool.map(_examine, part), strict=True):
                yield split, position, found


def _examine(place: tuple[Split, int]) -> _Read | str:
    split, position = place
    try:
        image = split.source.read(split.indices[position])
    except DataError as error:
        return str(error)
    # A picture that was saved anew without loss, or under another name, is the same picture.
    digest = hashlib.sha256(f"{image.mode}{image.size}".encode() + image.tobytes()).digest()
    return _Read(digest, *image.size, image.mode == "L")


def _contents(split: Split, seen: _Seen) -> SplitContents:
    return SplitContents(
        len(split),
        dict(zip(split.classes, split.count_classes(), strict=True)),
        _spread(seen.widths),
        _spread(seen.heights),
        seen.grayscale,
    )


def _spread(sizes: Sequence[int]) -> tuple[int, int, int] | None:
    return (min(sizes), statistics.median_low(sizes), max(sizes)) if sizes else None
