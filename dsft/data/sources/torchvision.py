"""torchvision's data sets: a table of their different constructor arguments and attributes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torchvision import datasets

from dsft.choices import SplitName
from dsft.compat.torchvision_datasets import list_files
from dsft.data.sources.images import ImageArray, ImageFiles, ImageSource
from dsft.errors import DataError, did_you_mean
from dsft.progress import Note, Report, ignore
from dsft.storage import at_home

_Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class _Entry:
    """How a data set is constructed and read.

    Attributes:
        splits: The constructor arguments for each official split.
        images: The attribute with an array of all images, or with pairs of files and classes; None if the files
            and classes are in private attributes, see :func:`dsft.compat.torchvision_datasets.list_files`.
        targets: The attribute with the class of each image; None if ``images`` contains pairs.
        classes: The class names, if the data set has no attribute ``classes``.
    """

    splits: Mapping[SplitName, _Arguments]
    images: str | None
    targets: str | None = None
    classes: tuple[str, ...] | None = None


def _by_flag(**shared: Any) -> Mapping[SplitName, _Arguments]:
    return {SplitName.TRAIN: {"train": True, **shared}, SplitName.TEST: {"train": False, **shared}}


def _by_name(train: str = "train", val: str | None = None, test: str = "test") -> Mapping[SplitName, _Arguments]:
    names = {SplitName.TRAIN: train, SplitName.VAL: val, SplitName.TEST: test}
    return {split: {"split": name} for split, name in names.items() if name is not None}


_UNDIVIDED: Mapping[SplitName, _Arguments] = {SplitName.TRAIN: {}}
_DIGITS = tuple("0123456789")

TABLE: Mapping[str, _Entry] = {
    "CIFAR10": _Entry(_by_flag(), "data", "targets"),
    "CIFAR100": _Entry(_by_flag(), "data", "targets"),
    "Country211": _Entry(_by_name(val="valid"), "samples"),
    "DTD": _Entry(_by_name(val="val"), None),
    "EMNIST": _Entry(_by_flag(split="balanced"), "data", "targets"),
    "EuroSAT": _Entry(_UNDIVIDED, "samples"),
    "FashionMNIST": _Entry(_by_flag(), "data", "targets"),
    "FGVCAircraft": _Entry(_by_name(val="val"), None),
    "Flowers102": _Entry(_by_name(val="val"), None),
    "Food101": _Entry(_by_name(), None),
    "GTSRB": _Entry(_by_name(), None, classes=tuple(str(number) for number in range(43))),
    # Its authors name the only held-out part val; it is used for the final evaluation, so it is test here.
    "Imagenette": _Entry(_by_name(test="val"), None),
    "KMNIST": _Entry(_by_flag(), "data", "targets"),
    "MNIST": _Entry(_by_flag(), "data", "targets"),
    "OxfordIIITPet": _Entry(_by_name(train="trainval"), None),
    "RenderedSST2": _Entry(_by_name(val="val"), None),
    "STL10": _Entry(_by_name(), "data", "labels"),
    "SUN397": _Entry(_UNDIVIDED, None),
    "SVHN": _Entry(_by_name(), "data", "labels", _DIGITS),
    "USPS": _Entry(_by_flag(), "data", "targets", _DIGITS),
}


def open_torchvision(
    name: str, root: Path, *, download: bool, report: Report = ignore
) -> Mapping[SplitName, ImageSource]:
    """Return the official splits of a torchvision data set.

    Args:
        name: Name of the data set, ignoring case.
        root: The folder in which torchvision stores the data set.
        download: Let torchvision download missing files to the folder.
        report: Receives a message before a download.

    Raises:
        DataError: The name is unknown, the files are missing or damaged, or the download failed.
    """
    name = full_name(name)
    if download:
        report(Note(f"data: torchvision downloads missing files of {name} to {str(root)!r}"))
    entry, root = TABLE[name], at_home(root)
    return {split: _open(name, entry, split, root, download) for split in entry.splits}


def full_name(name: str) -> str:
    """Return the name of a data set as torchvision spells it.

    Raises:
        DataError: The name is unknown.
    """
    known = {candidate.casefold(): candidate for candidate in TABLE}
    if name.casefold() not in known:
        near = did_you_mean(name, known.values()) or did_you_mean(name.casefold(), known)
        raise DataError(
            f"data.name: unknown torchvision data set {name!r}.{near} Supported are {', '.join(TABLE)}. "
            "Use data.source=folder for any other that has one folder per class."
        )
    return known[name.casefold()]


def _open(name: str, entry: _Entry, split: SplitName, root: Path, download: bool) -> ImageSource:
    try:
        opened = getattr(datasets, name)(root, download=download, **entry.splits[split])
    except Exception as error:  # parsers, archives and the network raise errors of many types
        raise DataError(_why_not(name, root, download, error)) from error
    classes = tuple(map(_class_name, entry.classes or opened.classes))
    if entry.images is None:
        return _files(root, classes, *list_files(opened))
    images: Any = getattr(opened, entry.images)
    if entry.targets is None:
        return _files(root, classes, [path for path, _ in images], [int(target) for _, target in images])
    targets = getattr(opened, entry.targets)
    origin = f"{name} ({split}) in {str(root)!r}"
    return ImageArray(origin, classes, _channels_last(np.asarray(images)), tuple(int(target) for target in targets))


def _why_not(name: str, root: Path, download: bool, error: Exception) -> str:
    cause = f"{type(error).__name__}: {error}"
    if download:
        return (
            f"data.name {name}: could not be downloaded to {str(root)!r} ({cause}). Without network access, copy "
            "the folder from another machine and set data.download=false."
        )
    return (
        f"data.name {name}: the files in data.root {str(root)!r} are missing or damaged ({cause}). "
        "Set data.root to the folder that contains them, or download them with data.download=true."
    )


def _class_name(name: str | Sequence[str]) -> str:
    """Return the name of a class, or the first of its synonyms."""
    return name if isinstance(name, str) else name[0]


def _files(root: Path, classes: tuple[str, ...], paths: Sequence[str | Path], targets: Sequence[int]) -> ImageFiles:
    # Some data sets list their files in the order of the file system, which is arbitrary.
    keys = [Path(os.path.relpath(path, root)).as_posix() for path in paths]
    pairs = sorted(zip(keys, targets, strict=True))
    return ImageFiles(root, classes, tuple(key for key, _ in pairs), tuple(target for _, target in pairs))


def _channels_last(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Convert images ``(count, 3, height, width)`` to ``(count, height, width, 3)``; others are unchanged."""
    is_channels_first = pixels.ndim == 4 and pixels.shape[1] == 3 and pixels.shape[3] != 3
    return pixels.transpose(0, 2, 3, 1) if is_channels_first else pixels
