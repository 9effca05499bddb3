"""Targets: the one class of an image, or its set of labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

Mask = TypeVar("Mask", Image, NDArray[np.uint8])

Target = int | tuple[int, ...]
"""Index of an image's class or, for multi-label data, the ascending indices of all its labels."""


def classes_of(target: Target) -> tuple[int, ...]:
    """Return the class indices of an image."""
    return (target,) if isinstance(target, int) else target


def has_label_sets(targets: Sequence[Target]) -> bool:
    """Return whether the targets are sets of labels (multi-label) instead of single classes."""
    return len(targets) > 0 and not isinstance(targets[0], int)


def single_classes(targets: Iterable[Target]) -> list[int]:
    """Return the class index of each image.

    Raises:
        ValueError: An image does not have exactly one class.
    """
    return [number for target in targets for (number,) in [classes_of(target)]]


def count_classes(targets: Iterable[Target], num_classes: int) -> list[int]:
    """Return the number of images of each class."""
    counts = Counter(number for target in targets for number in classes_of(target))
    return [counts[number] for number in range(num_classes)]


def renumber(target: Target, numbers: Mapping[int, int]) -> Target:
    """Map a target to another class table.

    Args:
        target: Class indices in the old table.
        numbers: Index in the new table by index in the old one.
    """
    return numbers[target] if isinstance(target, int) else tuple(sorted(numbers[number] for number in target))


def renumber_mask(mask: Mask, numbers: Mapping[int, int]) -> Mask:
    """Map the class indices of a mask to another class table; indices without a class are kept.

    Args:
        mask: A picture in mode ``L``, or an array of 8-bit integers.
        numbers: Index in the new table by index in the old one.
    """
    table = [numbers.get(value, value) for value in range(256)]
    return mask.point(table) if isinstance(mask, Image) else np.array(table, np.uint8)[mask]


def stack_targets(targets: Sequence[Target | Tensor], num_classes: int) -> Tensor:
    """Collate targets: class indices ``(batch,)``, int64, multi-hot ``(batch, classes)``, float32, or pictures."""
    pictures = [target for target in targets if isinstance(target, Tensor)]
    if pictures:
        return torch.stack(pictures)
    return _stack_labels([target for target in targets if not isinstance(target, Tensor)], num_classes)


def _stack_labels(targets: Sequence[Target], num_classes: int) -> Tensor:
    if not has_label_sets(targets):
        return torch.tensor(targets, dtype=torch.int64)
    stacked = torch.zeros(len(targets), num_classes)
    for row, target in enumerate(targets):
        stacked[row, list(classes_of(target))] = 1
    return stacked
