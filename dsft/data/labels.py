"""The labels of an image: its one class, or a set of any number of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

Target = int | tuple[int, ...]
"""Number of an image's class; or, where an image has any number of classes, all of theirs, ascending."""


def classes_of(target: Target) -> tuple[int, ...]:
    """Return the numbers of an image's classes."""
    return (target,) if isinstance(target, int) else target


def has_label_sets(targets: Sequence[Target]) -> bool:
    """Say whether images have any number of classes, and not exactly one."""
    return len(targets) > 0 and not isinstance(targets[0], int)


def single_classes(targets: Iterable[Target]) -> list[int]:
    """Return the one class of each image.

    Raises:
        ValueError: An image has another number of classes.
    """
    return [number for target in targets for (number,) in [classes_of(target)]]


def count_classes(targets: Iterable[Target], num_classes: int) -> list[int]:
    """Return the images of every class."""
    counts = Counter(number for target in targets for number in classes_of(target))
    return [counts[number] for number in range(num_classes)]


def renumber(target: Target, numbers: Mapping[int, int]) -> Target:
    """Return a target under another class table.

    Args:
        target: Under the old table.
        numbers: The new number of each class of the old table.
    """
    return numbers[target] if isinstance(target, int) else tuple(sorted(numbers[number] for number in target))


def stack_targets(targets: Sequence[Target], num_classes: int) -> Tensor:
    """Return the targets of a batch: class numbers ``(batch,)``, int64, or 0 and 1 ``(batch, classes)``, float32."""
    if not has_label_sets(targets):
        return torch.tensor(targets, dtype=torch.int64)
    stacked = torch.zeros(len(targets), num_classes)
    for row, target in enumerate(targets):
        stacked[row, list(classes_of(target))] = 1
    return stacked
