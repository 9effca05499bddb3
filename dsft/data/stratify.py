"""Draw held-out images class by class, so that every split has the classes in the same proportions."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dsft.choices import SplitName
from dsft.data.labels import Target, classes_of, has_label_sets
from dsft.data.stratify_labels import deal
from dsft.errors import DataError


@dataclass(frozen=True)
class Fold:
    """One part of several that a data set is divided into for cross-validation; ``index`` counts from 0."""

    index: int
    count: int


def draw(
    targets: Sequence[Target],
    keys: Sequence[str],
    classes: Sequence[str],
    shares: Mapping[SplitName, float | Fold],
    seed: int,
) -> dict[SplitName, tuple[int, ...]]:
    """Divide images into train and the splits of ``shares``.

    Images are ranked by a hash of seed and key, so that neither the order in which they are listed nor a library's
    random generator decides where an image goes. With one class an image they are so in each class, and new images move
    few others; with any number of classes see :func:`dsft.data.stratify_labels.deal`.

    Args:
        targets: Class or classes of each image.
        keys: Name of each image.
        classes: Names of the classes.
        shares: What each held-out split takes: a share of all images, 0 to 1, or a fold of what the shares leave.
            The folds of a seed are disjoint and cover it, but for classes of one image, which stay in train.
        seed: Another seed gives other splits.

    Returns:
        Indices of the images of each split, ascending; ``train`` has what the others leave.

    Raises:
        DataError: A split would get no image.
    """
    fractions = {name: share for name, share in shares.items() if not isinstance(share, Fold)}
    folds = {name: share for name, share in shares.items() if isinstance(share, Fold)}
    ranked = sorted(range(len(targets)), key=lambda index: _rank(seed, keys[index]))
    by_kind = _draw_label_sets if has_label_sets(targets) else _draw_classes
    drawn = by_kind(ranked, targets, len(classes), fractions, folds)
    for name, chosen in drawn.items():
        if not chosen:
            raise DataError(
                f"data: {len(targets)} images of {len(classes)} classes are too few to draw a {name} split "
                f"from. Add images, or a {name} folder of their own."
            )
    return {name: tuple(sorted(drawn[name])) for name in (SplitName.TRAIN, *shares)}


def _draw_label_sets(
    ranked: Sequence[int],
    targets: Sequence[Target],
    num_classes: int,
    fractions: Mapping[SplitName, float],
    folds: Mapping[SplitName, Fold],
) -> dict[SplitName, list[int]]:
    shares = [1 - sum(fractions.values()), *fractions.values()]
    train, *held_out = deal(ranked, targets, num_classes, shares)
    drawn = dict(zip(fractions, held_out, strict=True))
    for name, fold in folds.items():
        parts = deal(train, targets, num_classes, [1 / fold.count] * fold.count)
        drawn[name] = parts.pop(fold.index)
        train = [index for part in parts for index in part]
    return {SplitName.TRAIN: train, **drawn}


def _draw_classes(
    ranked: Sequence[int],
    targets: Sequence[Target],
    num_classes: int,
    fractions: Mapping[SplitName, float],
    folds: Mapping[SplitName, Fold],
) -> dict[SplitName, list[int]]:
    members: list[list[int]] = [[] for _ in range(num_classes)]
    for index in ranked:
        for target in classes_of(targets[index]):
            members[target].append(index)
    counts = _counts([len(indices) for indices in members], fractions)
    drawn: dict[SplitName, list[int]] = {name: [] for name in (SplitName.TRAIN, *fractions, *folds)}
    before = 0
    for target, own in enumerate(members):
        rest = own
        for name in fractions:
            taken = counts[name][target]
            drawn[name] += rest[:taken]
            rest = rest[taken:]
        left = len(rest)
        for name, fold in folds.items():
            # One class goes on where the one before it ended, so that small classes do not all fill the first fold.
            inside = [left > 1 and (before + rank) % fold.count == fold.index for rank, _ in enumerate(rest)]
            drawn[name] += list(itertools.compress(rest, inside))
            rest = [index for index, is_inside in zip(rest, inside, strict=True) if not is_inside]
        before += left
        drawn[SplitName.TRAIN] += rest
    return drawn


def _counts(sizes: Sequence[int], fractions: Mapping[SplitName, float]) -> dict[SplitName, list[int]]:
    """Say how many images of each class go to each held-out split.

    Each count is the class's share rounded down or up (largest remainder), at least one where the class can
    spare it; a class never gives its last image away from train.
    """
    counts = {name: _shares(sizes, fraction) for name, fraction in fractions.items()}
    for target, size in enumerate(sizes):
        wanted = {name: max(1, counts[name][target]) for name in fractions}
        while sum(wanted.values()) > max(size - 1, 0):
            wanted[max(wanted, key=lambda name: wanted[name])] -= 1
        for name, count in wanted.items():
            counts[name][target] = count
    return counts


def _shares(sizes: Sequence[int], fraction: float) -> list[int]:
    """Divide ``fraction`` of all images over the classes by the largest-remainder method."""
    total = round(sum(sizes) * fraction)
    quotas = [size * total / sum(sizes) for size in sizes]
    shares = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(sizes)), key=lambda target: shares[target] - quotas[target])
    for target in by_remainder[: total - sum(shares)]:
        shares[target] += 1
    return shares


def _rank(seed: int, key: str) -> bytes:
    return hashlib.sha256(f"{seed}/{key}".encode()).digest()
