"""Solids: artificial volumes of balls and boxes in noise, made from a seed, with the class of each voxel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dsft.choices import SplitName
from dsft.data.sources.arrays import MaskedSignals

SIDE = 16
"""Depth, height and width of a volume in voxels."""

COUNTS: Mapping[SplitName, int] = {SplitName.TRAIN: 240, SplitName.VAL: 48, SplitName.TEST: 96}
"""Number of volumes of each split."""

CLASSES = ("background", "ball", "box")

_RADIUS = (3.0, 4.5)  # of a ball, in voxels
_BOX = (2.4, 3.6)  # half of a side of a box, in voxels
_LEVEL = (0.6, 1.4)  # of a solid, in which the background is 0
_NOISE = 0.4  # standard deviation

Volume = NDArray[np.float64]
Mask = NDArray[np.uint8]


def open_solids() -> Mapping[SplitName, MaskedSignals]:
    """Return the volumes; nothing is read or downloaded.

    Each contains a ball and a box of random place, size and level, of which the second may cover a part of the first.
    Levels do not tell them apart.
    """
    return {split: _make(split, count, seed) for seed, (split, count) in enumerate(COUNTS.items())}


def _make(split: SplitName, count: int, seed: int) -> MaskedSignals:
    generator = np.random.default_rng(seed)
    drawn = [_volume(generator) for _ in range(count)]
    values = np.stack([volume for volume, _ in drawn]).astype(np.float32)[:, None]
    masks = np.stack([mask for _, mask in drawn])
    return MaskedSignals(f"solids {split}", CLASSES, values, ((),) * count, masks=masks)


def _volume(generator: np.random.Generator) -> tuple[Volume, Mask]:
    """Return a volume and its mask, both ``(SIDE, SIDE, SIDE)``."""
    grid = np.stack(np.meshgrid(*[np.arange(SIDE)] * 3, indexing="ij"))
    volume, mask = np.zeros((SIDE,) * 3), np.zeros((SIDE,) * 3, np.uint8)
    for number in generator.permutation([1, 2]):
        distance = np.abs(grid - generator.uniform(4, SIDE - 5, 3).reshape(3, 1, 1, 1))
        is_ball = CLASSES[number] == "ball"
        inside = (
            np.sqrt((distance**2).sum(0)) <= generator.uniform(*_RADIUS)
            if is_ball
            else (distance <= generator.uniform(*_BOX, 3).reshape(3, 1, 1, 1)).all(0)
        )
        volume[inside], mask[inside] = generator.uniform(*_LEVEL), number
    return volume + generator.normal(0, _NOISE, volume.shape), mask
