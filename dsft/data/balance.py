"""Remedies for class imbalance: class weights in the loss, and a sampler that balances the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from dsft.data.seeding import stable_seed
from dsft.errors import DataError, did_you_mean


def class_weights(classes: Sequence[str], weights: Mapping[str, float]) -> tuple[float, ...]:
    """Return the weight of every class, in the order of the class table.

    Args:
        classes: The class table.
        weights: Weights by class name; a missing class has weight 1.

    Raises:
        DataError: A name is not in the class table.
    """
    for name in weights:
        if name not in classes:
            near = did_you_mean(name, classes)
            raise DataError(
                f"data.class_weights.{name}: unknown class.{near} The classes are {', '.join(classes[:10])}."
            )
    return tuple(weights.get(name, 1.0) for name in classes)


def balanced_positions(targets: Sequence[int], seed: int, epoch: int) -> list[int]:
    """Sample as many positions as there are images, each class equally often, in random order.

    Within a class the numbers of occurrences of two images differ by at most one: images of a rare class occur several
    times, and of a common class each epoch contains another part.

    Args:
        targets: Class of each image.
        seed: Random seed.
        epoch: Number of the epoch; each has a sample of its own.
    """
    generator = torch.Generator().manual_seed(stable_seed("balance", seed, epoch))
    members: dict[int, list[int]] = {}
    for position, target in enumerate(targets):
        members.setdefault(target, []).append(position)
    # The classes that get one image more, if the division leaves a remainder, change from epoch to epoch.
    classes = [list(members)[at] for at in torch.randperm(len(members), generator=generator)]
    drawn: list[int] = []
    for place, target in enumerate(classes):
        share = len(targets) // len(classes) + (place < len(targets) % len(classes))
        drawn += _cycled(members[target], share, generator)
    return [drawn[at] for at in torch.randperm(len(drawn), generator=generator)]


def _cycled(positions: Sequence[int], count: int, generator: torch.Generator) -> list[int]:
    """Repeat passes over the shuffled positions until there are ``count``."""
    chosen: list[int] = []
    while len(chosen) < count:
        order = torch.randperm(len(positions), generator=generator).tolist()
        chosen += [positions[at] for at in order[: count - len(chosen)]]
    return chosen
