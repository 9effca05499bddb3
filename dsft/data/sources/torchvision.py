"""torchvision's data sets: one table of how their constructors and attributes differ."""

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
    """How one data set is opened and read.

    Attributes:
        splits: The constructor's arguments for each official split.
        images: The attribute with an array of all images, or with pairs of files and classes; None where the files
            and classes are in private attributes, see :func:`dsft.compat.torchvision_datasets.list_files`.
        targets: The attribute with the class of each image; None where ``images`` holds pairs.
        classes: The class names, where the data set has no attribute ``classes``.
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
    # Its authors hold out one part and call it val: it measures, so here it is test.
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
        name: Name of the data set, in upper or lower case.
        root: The folder that torchvision keeps it in.
        download: Let torchvision fetch what is missing there.
        report: Is told before anything may be downloaded.

    Raises:
        DataError: The name is unknown, the files are not there, or the download failed.
    """
    known = {candidate.casefold(): candidate for candidate in TABLE}
    if name.casefold() not in known:
        near = did_you_mean(name.casefold(), known)
        raise DataError(
            f"data.name: unknown torchvision data set {name!r}.{near} Known are {', '.join(TABLE)}. "
            "Any other that is one folder a class is read with data.source=folder."
        )
    name = known[name.casefold()]
    if download:
        report(Note(f"data: torchvision downloads what is missing of {name} to {str(root)!r}"))
    entry, root = TABLE[name], at_home(root)
    return {split: _open(name, entry, split, root, download) for split in entry.splits}


def _open(name: str, entry: _Entry, split: SplitName, root: Path, download: bool) -> ImageSource:
    try:
        opened = getattr(datasets, name)(root, download=download, **entry.splits[split])
    except Exception as error:  # torchvision raises what its parsers, archives and the network raise
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
            f"data.name {name}: could not be downloaded to {str(root)!r} ({cause}). With no network, copy "
            "the folder from a machine that has one and set data.download=false."
        )
    return (
        f"data.name {name}: its files are not in data.root {str(root)!r}, or damaged ({cause}). "
        "Give the folder that holds them, or let torchvision fetch them with data.download=true."
    )


def _class_name(name: str | Sequence[str]) -> str:
    """Return a class's name, the first where a data set lists synonyms."""
    return name if isinstance(name, str) else name[0]


def _files(root: Path, classes: tuple[str, ...], paths: Sequence[str | Path], targets: Sequence[int]) -> ImageFiles:
    # Some data sets list their files as the file system does, in no order.
    keys = [Path(os.path.relpath(path, root)).as_posix() for path in paths]
    pairs = sorted(zip(keys, targets, strict=True))
    return ImageFiles(root, classes, tuple(key for key, _ in pairs), tuple(target for _, target in pairs))


def _channels_last(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return images ``(count, 3, height, width)`` as ``(count, height, width, 3)``, others as they are."""
    is_channels_first = pixels.ndim == 4 and pixels.shape[1] == 3 and pixels.shape[3] != 3
    return pixels.transpose(0, 2, 3, 1) if is_channels_first else pixels
