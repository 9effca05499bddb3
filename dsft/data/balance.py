"""What evens out classes of unequal size: weights in the loss, or how often an image comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from dsft.data.seeding import stable_seed
from dsft.data.splits import Split
from dsft.errors import DataError, did_you_mean


def weigh_classes(split: Split, weights: Mapping[str, float] | Literal["auto"]) -> tuple[float, ...]:
    """Return the weight of each class in the loss; the mean over the images of the split is 1.

    ``auto`` weighs every class by the inverse of its number of images, so that all count alike.

    Args:
        split: The images that are trained on.
        weights: By class name; a class left out has 1. They are scaled to the mean.

    Raises:
        DataError: A name is none of the classes.
    """
    counts = Counter(split.targets)
    if weights == "auto":
        return tuple(len(split) / (len(split.classes) * counts[number]) for number in range(len(split.classes)))
    for name in weights:
        if name not in split.classes:
            near = did_you_mean(name, split.classes)
            raise DataError(
                f"data.class_weights.{name}: unknown class.{near} Known are {', '.join(split.classes[:10])}."
            )
    raw = [weights.get(name, 1.0) for name in split.classes]
    mean = sum(raw[number] * count for number, count in counts.items()) / len(split)
    return tuple(weight / mean for weight in raw)


def balanced_positions(targets: Sequence[int], seed: int, epoch: int) -> list[int]:
    """Return as many positions as there are images, every class as often as the others, in random order.

    Within a class every image comes as often as any other, give or take one: those of a rare class several times,
    and of a common one another part in each epoch.

    Args:
        targets: Class of each image.
        seed: Of the draw.
        epoch: Each has its own.
    """
    generator = torch.Generator().manual_seed(stable_seed("balance", seed, epoch))
    members: dict[int, list[int]] = {}
    for position, target in enumerate(targets):
        members.setdefault(target, []).append(position)
    # Which classes get the images that are left over changes from epoch to epoch.
    classes = [list(members)[at] for at in torch.randperm(len(members), generator=generator)]
    drawn: list[int] = []
    for place, target in enumerate(classes):
        share = len(targets) // len(classes) + (place < len(targets) % len(classes))
        drawn += _cycled(members[target], share, generator)
    return [drawn[at] for at in torch.randperm(len(drawn), generator=generator)]


def _cycled(positions: Sequence[int], count: int, generator: torch.Generator) -> list[int]:
    """Go through shuffled positions again and again until there are ``count``."""
    chosen: list[int] = []
    while len(chosen) < count:
        order = torch.randperm(len(positions), generator=generator).tolist()
        chosen += [positions[at] for at in order[: count - len(chosen)]]
    return chosen
