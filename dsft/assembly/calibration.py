"""Calibration images: a sample of the training split, without labels, that converted weights are fitted to."""

from __future__ import annotations

import dataclasses
import random

from torch import Tensor

from dsft.assembly.data import load_split
from dsft.data import Split
from dsft.devices import Compute
from dsft.preprocessing import Preprocessing
from dsft.recipe.sections import DataSection

BATCH = 16
"""Images per batch: the activations that are kept between layers grow with it."""


def draw_calibration(
    train: Split, section: DataSection, preprocessing: Preprocessing, compute: Compute, images: int, seed: int
) -> tuple[Tensor, ...]:
    """Draw images of the training split, with the evaluation transform.

    Args:
        train: The split.
        section: How its images are read.
        preprocessing: What the network takes.
        compute: Where it runs.
        images: Number of images, at most.
        seed: Seed of the draw.

    Returns:
        Batches ``(batch, channels, height, width)`` on the device.
    """
    chosen = sorted(random.Random(seed).sample(train.indices, min(images, len(train))))  # noqa: S311 (no secret)
    split = dataclasses.replace(train, indices=tuple(chosen))
    loader = load_split(
        split, section.model_copy(update={"batch_size": BATCH}), preprocessing, compute, full_size=False
    )
    return tuple(compute.place(batch.images) for batch in loader.epoch(0))
