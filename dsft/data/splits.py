"""Train, val and test: which image belongs to which, under one class table."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dsft.choices import BETWEEN_LABELS, SplitName
from dsft.data.labels import Target, classes_of, count_classes, has_label_sets, renumber
from dsft.data.sources import ImageSource
from dsft.data.stratify import Fold, draw
from dsft.errors import DataError
from dsft.progress import Note, Report, Warn, ignore

_LOOKED_AT = 16  # images, to find out how many channels they have


@dataclass(frozen=True)
class Split:
    """Some of a source's images, under a class table that need not be the source's own.

    Attributes:
        name: Which of the three parts it is.
        source: Lists and reads the images.
        indices: Number of each image in the source; a position in the split is an index into them.
        classes: The class table that targets refer to.
    """

    name: SplitName
    source: ImageSource
    indices: tuple[int, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """Class or classes of each image, indices into :attr:`classes`; the source's are mapped by name."""
        table = {name: target for target, name in enumerate(self.classes)}
        numbers = {own: table[name] for own, name in enumerate(self.source.classes) if name in table}
        return tuple(renumber(self.source.targets[index], numbers) for index in self.indices)

    @property
    def has_label_sets(self) -> bool:
        """Whether an image has any number of classes, and not exactly one."""
        return has_label_sets(self.targets)

    def count_classes(self) -> list[int]:
        """Return the images of every class."""
        return count_classes(self.targets, len(self.classes))

    def name_labels(self, position: int) -> str:
        """Return the class of an image, or all of its classes with ``;`` between two."""
        return BETWEEN_LABELS.join(self.classes[number] for number in classes_of(self.targets[position]))

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Name of each image."""
        keys = self.source.keys
        return tuple(keys[index] for index in self.indices)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the sorted key, class names and identity of every image, whatever the split's name."""
        rows = zip(self.keys, self.targets, self.indices, strict=True)
        parts = ([key, *(self.classes[y] for y in classes_of(own)), self.source.identity(i)] for key, own, i in rows)
        lines = sorted("\0".join(part) + "\n" for part in parts)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True)
class Splits:
    """The splits of a data set; they share the class table of train."""

    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split | None

    def get(self, name: SplitName) -> Split:
        """Return a split by name.

        Raises:
            DataError: There is no test split.
        """
        split = {SplitName.TRAIN: self.train, SplitName.VAL: self.val, SplitName.TEST: self.test}[name]
        if split is None:
            raise DataError(
                f"data: there is no test split: {self.train.source.origin!r} comes with a val split and no "
                "test split. Add one, or evaluate another split, such as evaluate.splits=[val]."
            )
        return split

    def index(self) -> dict[str, Any]:
        """Return as JSON values which image is in which split, with each split's fingerprint."""
        parts = {split.name.value: split for split in (self.train, self.val, self.test) if split is not None}
        rows = {name: {"fingerprint": s.fingerprint, "keys": list(s.keys)} for name, s in parts.items()}
        return {"classes": list(self.classes), "splits": rows}


def make_splits(
    sources: Mapping[SplitName, ImageSource],
    *,
    val: float | Fold,
    test: float,
    seed: int,
    report: Report = ignore,
) -> Splits:
    """Make train, val and test of what a data set comes with.

    A split of the data set's own is used whole. Val, where missing, is drawn from train, class by class.
    Test is drawn from train too where nothing is held out at all; a data set with val alone has no test.

    Args:
        sources: The data set's own splits, ``train`` at least.
        val: Share of the train source's images that become val, 0 to 1; or which fold of those that are
            left when test has been drawn.
        test: Share of the train source's images that become test, 0 to 1.
        seed: Of the draw. The same images and seed give the same splits on every machine.
        report: Is told the sizes, and which classes a split lacks.

    Raises:
        DataError: A fold is asked for and there is a val split; there are fewer than two classes, a class has no
            image to train on, a held-out split has a class that train has not, or there are too few images to draw
            from.
    """
    train = sources[SplitName.TRAIN]
    _require_trainable(train)
    fractions: dict[SplitName, float | Fold] = {}
    if SplitName.VAL in sources and isinstance(val, Fold):
        raise DataError(
            f"data.val.fold: {train.origin!r} comes with a val split, and folds are drawn where there is none. Remove "
            "data.val.fold and data.val.folds, or move the images of val to train."
        )
    if SplitName.VAL not in sources:
        fractions[SplitName.VAL] = val
        if SplitName.TEST not in sources:
            fractions[SplitName.TEST] = test
    drawn = draw(train.targets, train.keys, train.classes, fractions, seed)
    parts = {name: Split(name, train, indices, train.classes) for name, indices in drawn.items()}
    _require_every_class(parts[SplitName.TRAIN])
    for name in sources.keys() - {SplitName.TRAIN}:
        parts[name] = held_out_split(name, sources[name], train.classes)
    splits = Splits(train.classes, parts[SplitName.TRAIN], parts[SplitName.VAL], parts.get(SplitName.TEST))
    _describe(splits, tuple(fractions), report)
    return splits


def held_out_split(name: SplitName, source: ImageSource, classes: tuple[str, ...], report: Report = ignore) -> Split:
    """Return a whole source as a split under a class table, such as that of a trained model.

    Args:
        name: Which split it is.
        source: The images.
        classes: The class table; the source's classes are mapped to it by name.
        report: Is told which classes the source lacks.

    Raises:
        DataError: The source has no image, or classes that the table has not.
    """
    if not source.targets:
        raise DataError(f"data: the {name} split in {source.origin!r} has no image.")
    if unknown := [repr(label) for label in source.classes if label not in classes]:
        raise DataError(
            f"data: the {name} split in {source.origin!r} has classes that train has not: "
            f"{_some(unknown)}. Train has {_some([repr(label) for label in classes])}. "
            "Remove or rename them, or add training images."
        )
    split = Split(name, source, tuple(range(len(source.targets))), classes)
    _warn_of_absent(split, report)
    return split


def count_channels(split: Split) -> int:
    """Return 1 where all of some images from the whole split are grayscale, else 3."""
    modes = set()
    for position in range(0, len(split), max(len(split) // _LOOKED_AT, 1)):
        with contextlib.suppress(DataError):  # an unreadable image is dealt with where it is used
            modes.add(split.source.read(split.indices[position]).mode)
    return 1 if modes == {"L"} else 3


def _require_trainable(train: ImageSource) -> None:
    if has_label_sets(train.targets) and not train.classes:
        raise DataError(f"data: {train.origin!r} has no image with a label to train on.")
    if not has_label_sets(train.targets) and len(train.classes) < 2:
        raise DataError(
            f"data: at least two classes are needed to train, found {list(train.classes)} in "
            f"{train.origin!r}. Give the folder whose own folders are the classes."
        )
    counts = count_classes(train.targets, len(train.classes))
    if empty := [repr(label) for label, count in zip(train.classes, counts, strict=True) if not count]:
        raise DataError(f"data: {train.origin!r} has classes without an image to train on: {_some(empty)}.")


def _require_every_class(train: Split) -> None:
    # With one class an image, the draw leaves each of them an image. With several labels it may not be able to.
    if absent := _absent(train):
        raise DataError(
            f"data: no image of {_some(absent)} is left to train on when val and test are drawn. Add images of it, "
            "choose another data.seed, or hold fewer images out."
        )


def _describe(splits: Splits, drawn: tuple[SplitName, ...], report: Report) -> None:
    parts = [split for split in (splits.train, splits.val, splits.test) if split is not None]
    sizes = ", ".join(f"{len(split):,} {split.name}" for split in parts)
    origin = f"; {' and '.join(drawn)} drawn from {splits.train.source.origin!r}" if drawn else ""
    report(Note(f"data: {sizes} images of {len(splits.classes)} classes{origin}{_unlabelled(parts)}"))
    for split in parts[1:]:
        _warn_of_absent(split, report)


def _warn_of_absent(split: Split, report: Report) -> None:
    if absent := _absent(split):
        report(Warn(f"data: the {split.name} split has no image of {_some(absent)}"))


def _absent(split: Split) -> list[str]:
    counts = split.count_classes()
    return [repr(label) for label, count in zip(split.classes, counts, strict=True) if not count]


def _unlabelled(splits: Sequence[Split]) -> str:
    count = sum(not classes_of(target) for split in splits for target in split.targets)
    return f"; {count:,} of them have no label" if count else ""


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"
