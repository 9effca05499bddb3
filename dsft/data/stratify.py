"""Stratified splitting: held-out splits have the classes in the same proportions as the whole data set."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dsft.choices import SplitName
from dsft.data.iterative_stratification import stratify_iteratively
from dsft.data.labels import Target, classes_of, has_label_sets
from dsft.errors import DataError
from dsft.number_format import plural


@dataclass(frozen=True)
class Fold:
    """One of ``count`` folds for cross-validation; ``index`` counts from 0."""

    index: int
    count: int


def split_stratified(
    targets: Sequence[Target],
    keys: Sequence[str],
    classes: Sequence[str],
    shares: Mapping[SplitName, float | Fold],
    seed: int,
) -> dict[SplitName, tuple[int, ...]]:
    """Divide images into train and held-out splits.

    Images are ordered by a hash of seed and key, so that a split depends neither on the order of a listing nor on the
    random generator of a library, and most images keep their split when images are added. (scikit-learn's splitters
    depend on both.) Multi-label data use :mod:`dsft.data.iterative_stratification`.

    Args:
        targets: Target of each image.
        keys: Key of each image.
        classes: Names of the classes.
        shares: Size of each held-out split: a fraction of all images, 0 to 1, or a fold of the images that the
            fractions leave. The folds of a seed are disjoint and cover these images, except for classes with a single
            image, which stay in train.
        seed: Random seed.

    Returns:
        Ascending indices of the images of each split; ``train`` has the images that no other split has.

    Raises:
        DataError: A split would be empty.
    """
    fractions = {name: share for name, share in shares.items() if not isinstance(share, Fold)}
    folds = {name: share for name, share in shares.items() if isinstance(share, Fold)}
    ranked = sorted(range(len(targets)), key=lambda index: _rank(seed, keys[index]))
    split = _split_label_sets if has_label_sets(targets) else _split_classes
    drawn = split(ranked, targets, len(classes), fractions, folds)
    for name, chosen in drawn.items():
        if not chosen:
            raise DataError(
                f"data: {plural(len(targets), 'example')} of {plural(len(classes), 'class')} are too few for a {name} "
                f"split. Add examples, or provide a separate {name} split."
            )
    return {name: tuple(sorted(drawn[name])) for name in (SplitName.TRAIN, *shares)}


def _split_label_sets(
    ranked: Sequence[int],
    targets: Sequence[Target],
    num_classes: int,
    fractions: Mapping[SplitName, float],
    folds: Mapping[SplitName, Fold],
) -> dict[SplitName, list[int]]:
    shares = [1 - sum(fractions.values()), *fractions.values()]
    train, *held_out = stratify_iteratively(ranked, targets, num_classes, shares)
    drawn = dict(zip(fractions, held_out, strict=True))
    for name, fold in folds.items():
        parts = stratify_iteratively(train, targets, num_classes, [1 / fold.count] * fold.count)
        drawn[name] = parts.pop(fold.index)
        train = [index for part in parts for index in part]
    return {SplitName.TRAIN: train, **drawn}


def _split_classes(
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
            # Each class continues where the previous one ended; otherwise small classes would all be in the first fold.
            inside = [left > 1 and (before + rank) % fold.count == fold.index for rank, _ in enumerate(rest)]
            drawn[name] += list(itertools.compress(rest, inside))
            rest = [index for index, is_inside in zip(rest, inside, strict=True) if not is_inside]
        before += left
        drawn[SplitName.TRAIN] += rest
    return drawn


def _counts(sizes: Sequence[int], fractions: Mapping[SplitName, float]) -> dict[SplitName, list[int]]:
    """Return the number of images of each class for each held-out split.

    The counts are rounded by the largest-remainder method and at least one, as far as one image remains for train.
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
    """Distribute ``fraction`` of all images over the classes by the largest-remainder method."""
    total = round(sum(sizes) * fraction)
    quotas = [size * total / sum(sizes) for size in sizes]
    shares = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(sizes)), key=lambda target: shares[target] - quotas[target])
    for target in by_remainder[: total - sum(shares)]:
        shares[target] += 1
    return shares


def _rank(seed: int, key: str) -> bytes:
    return hashlib.sha256(f"{seed}/{key}".encode()).digest()
