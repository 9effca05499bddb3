"""Moving digits: handwritten digits of scikit-learn that move in one of eight directions, made from a seed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dsft.choices import SplitName
from dsft.data.sources.digits import open_digits
from dsft.data.sources.frames import ClipArray

SIDE = 32
"""Height and width of a frame in pixels."""

FRAMES = 12

COUNTS: Mapping[SplitName, int] = {SplitName.TRAIN: 800, SplitName.VAL: 160, SplitName.TEST: 320}
"""Number of clips of each split, in equal parts of each direction."""

DIRECTIONS: Mapping[str, tuple[int, int]] = {
    "down": (1, 0),
    "down_left": (1, -1),
    "down_right": (1, 1),
    "left": (0, -1),
    "right": (0, 1),
    "up": (-1, 0),
    "up_left": (-1, -1),
    "up_right": (-1, 1),
}
"""Rows and columns of a step in each direction, before it is scaled to the length of the step."""

_ENLARGED = 1.5  # the 8 x 8 pixels of a digit become 12 x 12
_STEP = (0.3, 1.2)  # range of the length of a step from frame to frame, in pixels
_NOISE = 60.0  # standard deviation, for pixels from 0 to 255

Pixels = NDArray[np.float64]


def open_moving_digits() -> Mapping[SplitName, ClipArray]:
    """Return the clips; nothing is read or downloaded.

    In each a digit moves over a second one that stands still, in noise. One frame does not show the direction: start,
    speed and both digits are random. The splits share no image of a digit.
    """
    (source,) = open_digits().values()
    digits = np.stack([np.asarray(source.read(index), np.float64) for index in range(len(source.keys))])
    parts = np.array_split(digits, len(COUNTS))
    return {
        split: _make(split, count, part, seed)
        for seed, ((split, count), part) in enumerate(zip(COUNTS.items(), parts, strict=True))
    }


def _make(split: SplitName, count: int, digits: Pixels, seed: int) -> ClipArray:
    generator = np.random.default_rng(seed)
    targets = tuple(number % len(DIRECTIONS) for number in range(count))
    steps = np.array(list(DIRECTIONS.values()))
    clips = np.stack([_clip(steps[target], digits, generator) for target in targets])
    return ClipArray(f"moving_digits {split}", tuple(DIRECTIONS), clips, targets)


def _clip(direction: NDArray[np.int64], digits: Pixels, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Return ``(FRAMES, SIDE, SIDE)``."""
    # Importing scipy takes a second.
    from scipy.ndimage import zoom  # type: ignore[import-untyped]

    moving, still = (zoom(digits[index], _ENLARGED, order=1) for index in generator.integers(len(digits), size=2))
    step = direction / np.linalg.norm(direction) * generator.uniform(*_STEP)
    room = SIDE - len(moving)
    # The digit never leaves the frame, and opposite directions are equally likely at every place.
    reach = np.abs(step) * (FRAMES - 1) / 2
    middle = generator.uniform(reach, room - reach)
    background = _placed(still, generator.uniform(0, room, 2))
    places = [middle + step * (number - (FRAMES - 1) / 2) for number in range(FRAMES)]
    frames = np.stack([np.maximum(background, _placed(moving, place)) for place in places])
    noisy = frames + generator.normal(0, _NOISE, frames.shape)
    return np.rint(noisy).clip(0, 255).astype(np.uint8)


def _placed(digit: Pixels, place: Pixels) -> Pixels:
    """Return a frame with a digit whose corner is at a row and a column, which need not be whole numbers."""
    from scipy.ndimage import shift

    canvas = np.zeros((SIDE, SIDE))
    canvas[: len(digit), : len(digit)] = digit
    placed: Pixels = shift(canvas, place, order=1)
    return placed
