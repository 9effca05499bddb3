"""Check every example of a data set: find damaged files, duplicates and examples that are in two splits."""

from __future__ import annotations

import hashlib
import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from PIL.Image import Image

from dsft.choices import InputKind, SplitName
from dsft.data.boxes import fit_boxes
from dsft.data.inputs import Measures
from dsft.data.splits import Split
from dsft.errors import DataError
from dsft.progress import Report, ignore, report_task

_AT_ONCE = 256  # examples in memory; a photograph has tens of megabytes


@dataclass(frozen=True)
class Corrupt:
    """An example that cannot be read, with the reason."""

    split: SplitName
    key: str
    message: str


@dataclass(frozen=True)
class SplitContents:
    """Statistics of a split.

    Attributes:
        count: Number of examples.
        kind: What they are.
        classes: Number of examples of each class, by name.
        sizes: Smallest, median and largest of what :meth:`dsft.data.inputs.InputType.measure` measures, by name, such
            as ``widths`` in pixels; None if no example is readable.
        flags: Number of examples with each property, such as ``grayscale``.
        shares: Share of the parts of all examples with each property, such as ``unknown`` words; None without parts.
    """

    count: int
    kind: InputKind
    classes: Mapping[str, int]
    sizes: Mapping[str, tuple[int, int, int] | None]
    flags: Mapping[str, int]
    shares: Mapping[str, float | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the statistics as JSON values."""
        return {
            self.kind.plural: self.count,
            "classes": dict(self.classes),
            **self.sizes,
            **self.flags,
            **self.shares,
        }


@dataclass(frozen=True)
class Same:
    """Examples with identical content, each given by split, key and class."""

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
        corrupt: The examples that cannot be read.
        same: The groups of identical examples.
    """

    splits: Mapping[SplitName, SplitContents]
    corrupt: tuple[Corrupt, ...]
    same: tuple[Same, ...]

    @property
    def is_clean(self) -> bool:
        """Whether all examples can be read and none is in two splits."""
        return not self.corrupt and not any(same.is_leak for same in self.same)

    @property
    def has_classes(self) -> bool:
        """Whether examples have classes; otherwise only their pixels or voxels have."""
        return any(any(contents.classes.values()) for contents in self.splits.values())

    def count_leaks(self) -> dict[tuple[SplitName, SplitName], int]:
        """Return the number of distinct images that each pair of splits shares; pairs without any are omitted."""
        pairs: Counter[tuple[SplitName, SplitName]] = Counter()
        for same in self.same:
            present = {split for split, _, _ in same.places}
            pairs.update(combinations([split for split in SplitName if split in present], 2))
        return dict(pairs)


PartCounter = Callable[[Any], Mapping[str, tuple[int, int]]]
"""Returns how many parts of an example have a property, by its name, and how many parts there are."""


def check_examples(
    splits: Sequence[Split], report: Report = ignore, count_parts: PartCounter = lambda _: {}
) -> DataCheck:
    """Read every example of the given splits, and compare their contents.

    Args:
        splits: Splits with the same class table and kind of input.
        report: Receives the progress, in examples.
        count_parts: Counts the parts of examples of which the check shows shares.
    """
    noun = splits[0].input_kind.plural
    corrupt: list[Corrupt] = []
    places: dict[bytes, list[tuple[SplitName, str, str]]] = {}
    seen: dict[SplitName, list[_Read]] = {split.name: [] for split in splits}
    with report_task(report, f"checking {noun}", sum(map(len, splits)), noun) as advance:
        for done, (split, position, found) in enumerate(_read(splits, count_parts), 1):
            key, label = split.keys[position], split.name_labels(position)
            if isinstance(found, _Read):
                seen[split.name].append(found)
                places.setdefault(found.digest, []).append((split.name, key, label))
            else:
                corrupt.append(Corrupt(split.name, key, found))
            advance(done)
    same = tuple(Same(tuple(each)) for each in places.values() if len(each) > 1)
    return DataCheck({split.name: _contents(split, seen[split.name]) for split in splits}, tuple(corrupt), same)


@dataclass(frozen=True)
class _Read:
    digest: bytes
    measures: Measures
    parts: Mapping[str, tuple[int, int]]


def _read(splits: Sequence[Split], count_parts: PartCounter) -> Iterator[tuple[Split, int, _Read | str]]:
    """Yield every example of every split in order, with its properties or the reason why it cannot be read."""
    places = [(split, position) for split in splits for position in range(len(split))]
    examine = partial(_examine, count_parts=count_parts)
    # Threads suffice, since Pillow releases the GIL while it decodes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(places), _AT_ONCE):
            part = places[start : start + _AT_ONCE]
            for (split, position), found in zip(part, pool.map(examine, part), strict=True):
                yield split, position, found


def _examine(place: tuple[Split, int], count_parts: PartCounter) -> _Read | str:
    split, position = place
    try:
        example, target = split.source.read(split.indices[position]), split.read_target(position)
        _require_fitting(example, target, split.keys[position])
        # Of the decoded content and not of the file, so that losslessly re-encoded copies are found too.
        digest = hashlib.sha256(split.input_type.content(example)).digest()
        return _Read(digest, split.input_type.measure(example), count_parts(example))
    except DataError as error:
        return str(error)


def _require_fitting(example: object, target: object, key: str) -> None:
    if isinstance(example, Image) and isinstance(target, np.ndarray):
        fit_boxes(target, example.size, key)
    if isinstance(example, Image) and isinstance(target, Image) and target.size != example.size:
        found = " and ".join(f"{width} x {height}" for width, height in (example.size, target.size))
        raise DataError(f"the image and its ground truth must have the same size, found {found} pixels.")


def _contents(split: Split, seen: Sequence[_Read]) -> SplitContents:
    names = split.input_type.measures
    return SplitContents(
        len(split),
        split.input_kind,
        dict(zip(split.classes, split.count_classes(), strict=True)),
        {name: _spread([own.measures.sizes[name] for own in seen]) for name in names.sizes},
        {name: sum(own.measures.flags[name] for own in seen) for name in names.flags},
        {name: _share([own.parts[name] for own in seen]) for name in (seen[0].parts if seen else {})},
    )


def _share(parts: Sequence[tuple[int, int]]) -> float | None:
    total = sum(count for _, count in parts)
    return sum(count for count, _ in parts) / total if total else None


def _spread(sizes: Sequence[int]) -> tuple[int, int, int] | None:
    return (min(sizes), statistics.median_low(sizes), max(sizes)) if sizes else None
