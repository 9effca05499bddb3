"""Train, val and test splits with a common class table."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from numpy.typing import NDArray
from PIL.Image import Image

from dsft.choices import LABEL_SEPARATOR, InputKind, SplitName, TargetKind
from dsft.data.boxes import renumber_boxes
from dsft.data.inputs import INPUTS, InputType
from dsft.data.labels import Target, classes_of, count_classes, has_label_sets, renumber, renumber_mask
from dsft.data.sources import BoxSource, DenseSource, Source, input_kind_of, target_kind_of
from dsft.data.stratify import Fold, split_stratified
from dsft.errors import DataError
from dsft.number_format import plural
from dsft.progress import Note, Report, Warn, ignore

_CHANNEL_SAMPLES = 16  # examples that are read to determine the number of channels


@dataclass(frozen=True)
class Split:
    """A subset of a source's examples, with a class table that may differ from that of the source.

    Attributes:
        name: The name of the split.
        source: Lists and reads the examples.
        indices: Index of each example in the source; a position in the split is an index into this tuple.
        classes: The class table of the targets.
    """

    name: SplitName
    source: Source
    indices: tuple[int, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """Target of each image, as indices into :attr:`classes`; the classes of the source are mapped by name."""
        return tuple(renumber(self.source.targets[index], self._numbers) for index in self.indices)

    @cached_property
    def _numbers(self) -> Mapping[int, int]:
        table = {name: target for target, name in enumerate(self.classes)}
        return {own: table[name] for own, name in enumerate(self.source.classes) if name in table}

    @property
    def has_label_sets(self) -> bool:
        """Whether the targets are sets of labels instead of single classes."""
        return self.target_kind is TargetKind.LABELS

    @property
    def input_kind(self) -> InputKind:
        """What the examples are."""
        return input_kind_of(self.source)

    @property
    def input_type(self) -> InputType:
        """What can be done with the examples."""
        return INPUTS[self.input_kind]

    @property
    def target_kind(self) -> TargetKind:
        """What the ground truth of an example is."""
        return target_kind_of(self.source)

    @property
    def is_dense(self) -> bool:
        """Whether the ground truth of an image is a picture."""
        return self.target_kind in (TargetKind.MASK, TargetKind.IMAGE)

    @property
    def has_places(self) -> bool:
        """Whether the ground truth refers to places in the image, so that both are transformed together."""
        return self.is_dense or self.target_kind is TargetKind.BOXES

    @property
    def most_boxes(self) -> int:
        """Largest number of boxes of an image of the source; 0 if the ground truth is another."""
        return cast("BoxSource", self.source).most_boxes if self.target_kind is TargetKind.BOXES else 0

    def read_target(self, position: int) -> Target | Image | NDArray[Any] | None:
        """Return the ground truth of an example: class indices, boxes, or a picture or an array of its size.

        Raises:
            DataError: The boxes or the picture cannot be read.
        """
        if self.target_kind is TargetKind.BOXES:
            boxes = cast("BoxSource", self.source).read_target(self.indices[position])
            return renumber_boxes(boxes, self._numbers)
        if not self.is_dense:
            return self.targets[position]
        picture = cast("DenseSource", self.source).read_target(self.indices[position])
        if picture is None or self.target_kind is not TargetKind.MASK:
            return picture
        return renumber_mask(picture, self._numbers)

    def count_classes(self) -> list[int]:
        """Return the number of images of each class."""
        return count_classes(self.targets, len(self.classes))

    def name_labels(self, position: int) -> str:
        """Return the class of an image, or its labels joined by ``;``."""
        return LABEL_SEPARATOR.join(self.classes[number] for number in classes_of(self.targets[position]))

    def evenly_spaced(self, count: int) -> Split:
        """Return at most ``count`` images of the split, spread evenly over it and so over its classes."""
        step = max(len(self) / count, 1.0)
        chosen = [self.indices[int(place * step)] for place in range(min(count, len(self)))]
        return dataclasses.replace(self, indices=tuple(chosen))

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Key of each image."""
        keys = self.source.keys
        return tuple(keys[index] for index in self.indices)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the sorted keys, class names and identities of all images, regardless of the split's name."""
        rows = zip(self.keys, self.targets, self.indices, strict=True)
        parts = ([key, *(self.classes[y] for y in classes_of(own)), self.source.identity(i)] for key, own, i in rows)
        lines = sorted("\0".join(part) + "\n" for part in parts)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True)
class Splits:
    """The splits of a data set; all have the class table of train."""

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
                f"data: there is no test split: {self.train.source.origin!r} has a val split and no "
                "test split. Add one, or evaluate another split with evaluate.splits=[val]."
            )
        return split

    def index(self) -> dict[str, Any]:
        """Return the keys and the fingerprint of each split as JSON values."""
        parts = {split.name.value: split for split in (self.train, self.val, self.test) if split is not None}
        rows = {name: {"fingerprint": s.fingerprint, "keys": list(s.keys)} for name, s in parts.items()}
        return {"classes": list(self.classes), "splits": rows}


def make_splits(
    sources: Mapping[SplitName, Source],
    *,
    val: float | Fold,
    test: float,
    seed: int,
    report: Report = ignore,
) -> Splits:
    """Create the train, val and test splits of a data set.

    Splits that the data set defines itself are used unchanged. A missing val split is drawn from train, stratified by
    class. A missing test split is drawn from train as well if the data set defines no val split; otherwise there is no
    test split.

    Args:
        sources: The splits that the data set defines, at least ``train``.
        val: Fraction of the train source's images that become val, 0 to 1, or a fold of the images outside of test.
        test: Fraction of the train source's images that become test, 0 to 1.
        seed: Random seed. The same images and seed give the same splits on every machine.
        report: Receives the sizes of the splits, and the classes that a split does not contain.

    Raises:
        DataError: A fold is requested and the data set defines a val split; there are fewer than two classes, a class
            has no training image, a held-out split has a class that train does not have, or there are too few images.
    """
    train = sources[SplitName.TRAIN]
    _require_trainable(train)
    fractions: dict[SplitName, float | Fold] = {}
    if SplitName.VAL in sources and isinstance(val, Fold):
        raise DataError(
            f"data.val.fold: {train.origin!r} has a val split of its own, so no fold can be drawn. Remove "
            "data.val.fold and data.val.folds, or move the examples of val to train."
        )
    if SplitName.VAL not in sources:
        fractions[SplitName.VAL] = val
        if SplitName.TEST not in sources:
            fractions[SplitName.TEST] = test
    drawn = split_stratified(train.targets, train.keys, train.classes, fractions, seed)
    parts = {name: Split(name, train, indices, train.classes) for name, indices in drawn.items()}
    _require_every_class(parts[SplitName.TRAIN], report)
    for name in sources.keys() - {SplitName.TRAIN}:
        parts[name] = held_out_split(name, sources[name], train.classes)
    splits = Splits(train.classes, parts[SplitName.TRAIN], parts[SplitName.VAL], parts.get(SplitName.TEST))
    _describe(splits, tuple(fractions), report)
    return splits


def held_out_split(name: SplitName, source: Source, classes: tuple[str, ...], report: Report = ignore) -> Split:
    """Return a whole source as a split with a given class table, such as that of a trained model.

    Args:
        name: Name of the split.
        source: The images.
        classes: The class table, to which the classes of the source are mapped by name.
        report: Receives a warning about classes without images.

    Raises:
        DataError: The source has no images, or has classes that are not in the class table.
    """
    if not source.targets:
        raise DataError(f"data: the {name} split in {source.origin!r} has no {input_kind_of(source).plural}.")
    if unknown := [repr(label) for label in source.classes if label not in classes]:
        raise DataError(
            f"data: the {name} split in {source.origin!r} has classes that train does not have: "
            f"{_some(unknown)}. Train has {_some([repr(label) for label in classes])}. "
            f"Remove or rename them, or add training {input_kind_of(source).plural}."
        )
    split = Split(name, source, tuple(range(len(source.targets))), classes)
    _warn_of_absent(split, report)
    return split


def count_channels(split: Split) -> int:
    """Return the largest number of channels in a sample of examples from the whole split."""
    counts = set()
    for position in range(0, len(split), max(len(split) // _CHANNEL_SAMPLES, 1)):
        with contextlib.suppress(DataError):  # the loader handles unreadable examples
            counts.add(split.input_type.count_channels(split.source.read(split.indices[position])))
    return max(counts, default=split.input_type.default_channels)


def _require_trainable(train: Source) -> None:
    if not train.targets:
        raise DataError(f"data: {train.origin!r} has no {input_kind_of(train).plural} to train on.")
    kind = target_kind_of(train)
    if kind in (TargetKind.MASK, TargetKind.IMAGE):
        return
    if kind is TargetKind.BOXES:
        # A class without boxes is common: in COCO files it is often the name of the data set.
        if not any(train.targets):
            raise DataError(f"data: {train.origin!r} has no boxes to train on. Add annotations.")
        return
    if has_label_sets(train.targets) and not train.classes:
        raise DataError(f"data: {train.origin!r} has no labelled {input_kind_of(train).plural} to train on.")
    if not has_label_sets(train.targets) and len(train.classes) < 2:
        raise DataError(
            f"data: at least two classes are needed for training, found {list(train.classes)} in "
            f"{train.origin!r}. Give the folder that contains one folder per class."
        )
    counts = count_classes(train.targets, len(train.classes))
    if empty := [repr(label) for label, count in zip(train.classes, counts, strict=True) if not count]:
        raise DataError(
            f"data: {train.origin!r} has classes without training {input_kind_of(train).plural}: {_some(empty)}."
        )


def _require_every_class(train: Split, report: Report) -> None:
    if train.target_kind is TargetKind.BOXES:
        _warn_of_absent(train, report)
        return
    # With one class per image each class keeps a training image; with several labels that may be impossible.
    if absent := _absent(train):
        raise DataError(
            f"data: after drawing val and test, train has no {train.input_kind.plural} of {_some(absent)}. Add some, "
            "choose another data.seed, or hold out fewer."
        )


def _describe(splits: Splits, drawn: tuple[SplitName, ...], report: Report) -> None:
    parts = [split for split in (splits.train, splits.val, splits.test) if split is not None]
    sizes = ", ".join(f"{len(split):,} {split.name}" for split in parts)
    examples, classes = plural(sum(map(len, parts)), parts[0].input_kind), plural(len(splits.classes), "class")
    origin = f"; {' and '.join(drawn)} drawn from {splits.train.source.origin!r}" if drawn else ""
    report(Note(f"data: {examples} of {classes} ({sizes}){origin}{_unlabelled(parts)}"))
    for split in parts[1:]:
        _warn_of_absent(split, report)


def _warn_of_absent(split: Split, report: Report) -> None:
    if absent := _absent(split):
        report(Warn(f"data: the {split.name} split has no {split.input_kind.plural} of {_some(absent)}"))


def _absent(split: Split) -> list[str]:
    if split.is_dense:
        return []
    counts = split.count_classes()
    return [repr(label) for label, count in zip(split.classes, counts, strict=True) if not count]


def _unlabelled(splits: Sequence[Split]) -> str:
    if splits[0].is_dense:
        return ""
    count = sum(not classes_of(target) for split in splits for target in split.targets)
    what = "boxes" if splits[0].target_kind is TargetKind.BOXES else "labels"
    return f"; {count:,} of them without {what}" if count else ""


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"
