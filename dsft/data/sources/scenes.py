"""Scenes: handwritten digits of scikit-learn on a canvas, with masks and boxes: known truth, no download."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dsft.choices import SplitName, TargetKind
from dsft.data.boxes import Boxes, as_boxes
from dsft.data.seeding import stable_seed
from dsft.data.sources.box_files import classes_in
from dsft.data.sources.images import ImageSource
from dsft.errors import DataError, did_you_mean

SIDE = 48
"""Height and width of a scene in pixels."""

SCENES: Mapping[SplitName, int] = {SplitName.TRAIN: 400, SplitName.VAL: 80, SplitName.TEST: 160}
"""Number of scenes of each split."""

BACKGROUND = "background"
DIGITS = range(5)
"""The digits in scenes: half of the ten, so that a small network learns them in a minute."""

SCENE_KINDS = {"segmentation": TargetKind.MASK, "detection": TargetKind.BOXES, "restoration": TargetKind.IMAGE}
"""What ``data.name`` may be, and the ground truth of a scene then."""

_GREY_LEVELS = 16
_MOST_DIGITS = 3
_VISIBLE = 0.4  # least part of a digit's pixels that are not under another, for it to have a box
_DIGIT = (18, 23)  # range of the side of a digit, in pixels
_STROKE = 0.35  # smallest intensity of a digit's pixel that belongs to its mask, 0 to 1


@dataclass(frozen=True)
class Scenes:
    """Scenes of one split; each is drawn from its split and index, and from digits of this split only.

    Attributes:
        split: The split.
        target_kind: Masks, boxes, or the clean scenes themselves.
    """

    split: SplitName
    target_kind: TargetKind
    in_memory: ClassVar[bool] = True

    @property
    def origin(self) -> str:
        """The name of the source."""
        return "scenes"

    @property
    def classes(self) -> tuple[str, ...]:
        """The digits, of masks with the background; or the one channel."""
        digits = tuple(map(str, DIGITS))
        return {
            TargetKind.MASK: (BACKGROUND, *digits),
            TargetKind.BOXES: digits,
            TargetKind.IMAGE: ("grey",),
        }[self.target_kind]

    @property
    def keys(self) -> Sequence[str]:
        """The split and the index of each scene."""
        return [f"{self.split}-{index:04d}" for index in range(SCENES[self.split])]

    @property
    def targets(self) -> Sequence[tuple[int, ...]]:
        """The digits in each scene for boxes, else an empty set."""
        count = SCENES[self.split]
        if self.target_kind is not TargetKind.BOXES:
            return [()] * count
        return [classes_in(scene_boxes(self.split, index)) for index in range(count)]

    @property
    def most_boxes(self) -> int:
        """Largest number of boxes of a scene."""
        return _MOST_DIGITS

    def identity(self, index: int) -> str:
        """Return the SHA-256 of the pixels."""
        return hashlib.sha256(draw_scene(self.split, index)[0].tobytes()).hexdigest()

    def read(self, index: int) -> Image.Image:
        """Draw a scene."""
        return Image.fromarray(draw_scene(self.split, index)[0])

    def read_target(self, index: int) -> Image.Image | Boxes | None:
        """Draw its mask, or return its boxes; None if the scene itself is to be restored."""
        if self.target_kind is TargetKind.BOXES:
            return scene_boxes(self.split, index)
        return Image.fromarray(draw_scene(self.split, index)[1]) if self.target_kind is TargetKind.MASK else None


def open_scenes(name: str) -> Mapping[SplitName, ImageSource]:
    """Return the scenes for a task.

    Args:
        name: The task, ``segmentation``, ``detection`` or ``restoration``.

    Raises:
        DataError: There are no scenes for it.
    """
    if name not in SCENE_KINDS:
        raise DataError(
            f"data.name: the source scenes has {', '.join(SCENE_KINDS)}, found {name!r}."
            f"{did_you_mean(name, SCENE_KINDS)}"
        )
    return {split: Scenes(split, SCENE_KINDS[name]) for split in SplitName}


def draw_scene(split: SplitName, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the pixels ``(height, width)`` of a scene and its mask, both 8-bit integers.

    One to three digits, enlarged with a bicubic filter to 18 to 22 pixels, lie on a background with a gradient and
    stripes. Where digits overlap, the mask has the one above. A pixel belongs to a digit if its intensity is at least
    0.35 of the darkest.
    """
    canvas, mask, _ = compose_scene(split, index)
    return canvas, mask


def scene_boxes(split: SplitName, index: int) -> Boxes:
    """Return the boxes around the digits of a scene.

    A box is around all pixels that belong to a digit, also those under another one. A digit of which less than 0.4 are
    visible has none.
    """
    return compose_scene(split, index)[2]


@cache
def compose_scene(split: SplitName, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Boxes]:
    """Return the pixels, the mask and the boxes of a scene, see :func:`draw_scene` and :func:`scene_boxes`."""
    random = np.random.default_rng(stable_seed("scene", split, index))
    canvas, mask = _background(random), np.zeros((SIDE, SIDE), np.uint8)
    images, labels = _digits(split)
    owner, boxes = np.zeros_like(mask), []
    for number in range(random.integers(1, _MOST_DIGITS + 1)):
        chosen, side = int(random.integers(len(images))), int(random.integers(*_DIGIT))
        enlarged = Image.fromarray(images[chosen]).resize((side, side), Image.Resampling.BICUBIC)
        shape = np.asarray(enlarged).astype(np.float64) / 255
        row, column = random.integers(0, SIDE - side + 1, 2)
        place = (slice(row, row + side), slice(column, column + side))
        ink = random.uniform(0.75, 1.0)
        canvas[place] = np.maximum(canvas[place] * (1 - shape), shape * ink)
        is_digit = shape >= _STROKE
        mask[place][is_digit] = labels[chosen] + 1
        owner[place][is_digit] = number + 1
        rows, columns = row + np.flatnonzero(is_digit.any(1)), column + np.flatnonzero(is_digit.any(0))
        box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1, labels[chosen], 0.0)
        boxes.append((box, is_digit.sum()))
    visible = [box for number, (box, pixels) in enumerate(boxes) if (owner == number + 1).sum() >= _VISIBLE * pixels]
    return np.rint(canvas.clip(0, 1) * 255).astype(np.uint8), mask, as_boxes(visible)


def _background(random: np.random.Generator) -> NDArray[np.float64]:
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    slope, phase = random.uniform(-0.2, 0.2, 2), random.uniform(0, 2 * np.pi)
    stripes = 0.06 * np.sin(phase + 2 * np.pi * random.uniform(2, 6) * (rows + random.uniform(-1, 1) * columns))
    return np.asarray(0.25 + slope[0] * (rows - 0.5) + slope[1] * (columns - 0.5) + stripes)


@cache
def _digits(split: SplitName) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Return the digits of a split: of five, three are for train, one is for val and one for test."""
    # Importing scikit-learn takes a second.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    fifth = np.arange(len(bunch.target)) % 5
    own = {SplitName.TRAIN: fifth < 3, SplitName.VAL: fifth == 3, SplitName.TEST: fifth == 4}[split]
    own &= np.isin(bunch.target, DIGITS)
    return np.rint(bunch.images[own] * (255 / _GREY_LEVELS)).astype(np.uint8), bunch.target[own]
