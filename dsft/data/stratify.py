"""Draw held-out images class by class, so that every split has the classes in the same proportions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from dsft.choices import SplitName
from dsft.errors import DataError


def draw(
    targets: Sequence[int],
    keys: Sequence[str],
    classes: Sequence[str],
    fractions: Mapping[SplitName, float],
    seed: int,
) -> dict[SplitName, tuple[int, ...]]:
    """Divide images into train and the splits of ``fractions``.

    In each class the images are ranked by a hash of seed and key, so that neither the order in which they
    are listed nor a library's random generator decides where an image goes, and new images move few others.

    Args:
        targets: Class of each image.
        keys: Name of each image.
        classes: Names of the classes.
        fractions: Share of the images that each held-out split takes, 0 to 1.
        seed: Another seed gives other splits.

    Returns:
        Indices of the images of each split, ascending; ``train`` has what the others leave.

    Raises:
        DataError: A split would get no image.
    """
    members: list[list[int]] = [[] for _ in classes]
    for index, target in enumerate(targets):
        members[target].append(index)
    counts = _counts([len(indices) for indices in members], fractions)
    drawn: dict[SplitName, list[int]] = {SplitName.TRAIN: [], **{name: [] for name in fractions}}
    for target, indices in enumerate(members):
        ranked = sorted(indices, key=lambda index: _rank(seed, keys[index]))
        for name in fractions:
            taken = counts[name][target]
            drawn[name] += ranked[:taken]
            ranked = ranked[taken:]
        drawn[SplitName.TRAIN] += ranked
    for name, chosen in drawn.items():
        if not chosen:
            raise DataError(
                f"data: {len(targets)} images of {len(classes)} classes are too few to draw a {name} split "
                f"from. Add images, or a {name} folder of their own."
            )
    return {name: tuple(sorted(chosen)) for name, chosen in drawn.items()}


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
