"""Signals in NumPy files ``.npz``: an array of signals, and their classes."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dsft.choices import NO_CLASS, InputKind, SplitName, TargetKind
from dsft.data.sound import Signal, as_samples
from dsft.data.sources.images import ArraySource, Source
from dsft.data.sources.naming import describe_splits, sorted_labels, split_files
from dsft.errors import DataError
from dsft.progress import Report, ignore
from dsft.storage import at_home

INPUTS, LABELS, NAMES, RATE = "x", "y", "classes", "rate"
"""Names of the arrays in a file."""


@dataclass(frozen=True, eq=False)
class SignalArray(ArraySource):
    """Signals ``(count, channels, ...)`` in one array of float32.

    Attributes:
        values: The signals.
        rate: Their samples per second; None if they have no rate.
    """

    rate: int | None = None
    input_kind: ClassVar[InputKind] = InputKind.SIGNAL

    def read(self, index: int) -> Signal:
        """Return one signal.

        Raises:
            DataError: It has values that are not finite.
        """
        values: NDArray[np.float32] = self.values[index]
        if not np.isfinite(values).all():
            raise DataError(
                f"signal {self.keys[index]} of {self.origin!r} has NaN or infinite values. Repair or remove it."
            )
        return Signal(values, self.rate)


@dataclass(frozen=True, eq=False)
class MaskedSignals(SignalArray):
    """Signals with a class for each sample.

    Attributes:
        masks: Class indices ``(count, ...)`` in the shape of a channel, 8-bit integers; 255 is no class.
    """

    masks: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    target_kind: ClassVar[TargetKind] = TargetKind.MASK

    def identity(self, index: int) -> str:
        """Return the SHA-256 of values and classes."""
        return hashlib.sha256(f"{super().identity(index)}/{self.masks[index].tobytes().hex()}".encode()).hexdigest()

    def read_target(self, index: int) -> NDArray[np.uint8]:
        """Return the class of each sample."""
        mask: NDArray[np.uint8] = self.masks[index]
        return mask


def open_arrays(root: Path, report: Report = ignore) -> Mapping[SplitName, Source]:
    """Return the splits of signals in NumPy files.

    A file contains the arrays ``x``, the signals ``(n, channels, length)`` or with further axes; ``y``, the class of
    each, as an integer or a text, or of each sample ``(n, length)``, as an integer, 255 for none; optionally
    ``classes``, the names of the classes of integers; and optionally ``rate``, the samples per second. Files with
    pickled objects are refused.

    Args:
        root: A file, which is all ``train``; or a folder with ``train.npz`` and optionally ``val.npz`` and
            ``test.npz``.
        report: Receives which file is used for which split.

    Raises:
        DataError: A file is missing or damaged, or lacks an array.
    """
    root = at_home(root)
    if root.is_file():
        return {SplitName.TRAIN: _open(root)}
    files = split_files(root, ".npz")
    if SplitName.TRAIN not in files:
        raise DataError(f"data.root {str(root)!r}: must be a file .npz, or a folder with train.npz, found neither.")
    report(describe_splits(files))
    return {split: _open(path) for split, path in files.items()}


def _open(path: Path) -> SignalArray:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in (INPUTS, LABELS, NAMES, RATE) if name in file}
        if missing := [name for name in (INPUTS, LABELS) if name not in arrays]:
            raise ValueError(f"the array {missing[0]!r} is missing")
        values = as_samples(arrays[INPUTS])
        rate = int(arrays[RATE]) if RATE in arrays else None
        if arrays[LABELS].ndim > 1:
            return _masked(path, values, arrays, rate)
        classes, targets = _classes(arrays[LABELS], arrays.get(NAMES))
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"data.root {str(path)!r}: must be a NumPy file with the arrays {INPUTS!r}, signals (n, channels, length), "
            f"and {LABELS!r}, the class of each ({type(error).__name__}: {error})."
        ) from error
    if values.ndim < 3 or not values.size or len(values) != len(targets):
        raise DataError(
            f"data.root {str(path)!r}: {INPUTS!r} must have the shape (n, channels, length), with a class in "
            f"{LABELS!r} for each of n signals, found the shapes {values.shape} and ({len(targets)},)."
        )
    return SignalArray(str(path), classes, values, targets, rate)


def _masked(path: Path, values: NDArray[np.float32], arrays: dict[str, NDArray[Any]], rate: int | None) -> SignalArray:
    """Return signals with a class for each sample."""
    labels = arrays[LABELS]
    if labels.shape != (len(values), *values.shape[2:]) or labels.dtype.kind not in "iu":
        raise ValueError(f"{LABELS!r} must hold an integer for each sample, found the shape {labels.shape}")
    has_class = labels != NO_CLASS
    largest = int(labels[has_class].max(initial=0))
    classes = tuple(map(str, arrays.get(NAMES, np.arange(largest + 1))))
    if labels.min(initial=0) < 0 or largest >= len(classes) or len(classes) > NO_CLASS:
        raise ValueError(f"{LABELS!r} must hold numbers from 0 to {len(classes) - 1}, or {NO_CLASS} for no class")
    return MaskedSignals(str(path), classes, values, ((),) * len(values), rate, labels.astype(np.uint8))


def _classes(labels: NDArray[Any], names: NDArray[Any] | None) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the class table, and the class of each signal."""
    if labels.ndim != 1 or labels.dtype.kind not in "iuU":
        raise ValueError(f"the array {LABELS!r} must hold one integer or text for each signal, found {labels.dtype}")
    if names is None:
        classes = sorted_labels(map(str, labels))
    else:
        classes = tuple(map(str, names))
        if labels.dtype.kind != "U":
            if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < len(classes):
                raise ValueError(f"the array {LABELS!r} must hold numbers from 0 to {len(classes) - 1}")
            return classes, tuple(map(int, labels))
    numbers = {name: number for number, name in enumerate(classes)}
    if unknown := sorted({str(label) for label in labels} - numbers.keys()):
        raise ValueError(f"the array {NAMES!r} lacks the classes {', '.join(unknown[:5])}")
    return classes, tuple(numbers[str(label)] for label in labels)
