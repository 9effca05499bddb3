"""What evens out classes of unequal size: weights in the loss, or how often an image comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from dsft.data.seeding import stable_seed
from dsft.errors import DataError, did_you_mean


def class_weights(classes: Sequence[str], weights: Mapping[str, float]) -> tuple[float, ...]:
    """Return the weight of every class.

    Args:
        classes: The class table.
        weights: By class name; a class left out has 1.

    Raises:
        DataError: A name is none of the classes.
    """
    for name in weights:
        if name not in classes:
            near = did_you_mean(name, classes)
            raise DataError(f"data.class_weights.{name}: unknown class.{near} Known are {', '.join(classes[:10])}.")
    return tuple(weights.get(name, 1.0) for name in classes)


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
