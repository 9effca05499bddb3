"""Calibration images: a sample of the training split, without labels, that converted weights are fitted to."""

from __future__ import annotations

import dataclasses
import random
from typing import TypeGuard

import torch
from torch import Tensor

from dsft.assembly.data import load_split
from dsft.data import Split
from dsft.data.photographs import photographs
from dsft.devices import Compute
from dsft.preprocessing import InputPreprocessing, Preprocessing
from dsft.recipe.sections import DataSection

BATCH = 16
"""Images per batch: the activations that are kept between layers grow with it."""


def draw_calibration(
    train: Split, section: DataSection, preprocessing: InputPreprocessing, compute: Compute, images: int, seed: int
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
        split, section.model_copy(update={"batch_size": BATCH}), preprocessing.single, compute, full_size=False
    )
    return tuple(compute.place(batch.images) for batch in loader.epoch(0))


def takes_photographs(preprocessing: InputPreprocessing) -> TypeGuard[Preprocessing]:
    """Whether the inputs of a network may be photographs: images of three channels."""
    return isinstance(preprocessing, Preprocessing) and preprocessing.channels == 3


def draw_photographs(preprocessing: Preprocessing, compute: Compute, images: int, seed: int) -> tuple[Tensor, ...]:
    """Draw crops of scikit-learn's sample photographs, where there are no images of the network's own kind.

    Args:
        preprocessing: What the network takes.
        compute: Where it runs.
        images: Number of images.
        seed: Seed of the draw.

    Returns:
        Batches ``(batch, channels, height, width)`` on the device.
    """
    size, mean, std = preprocessing.image_size, preprocessing.mean, preprocessing.std
    drawn = photographs(size, images, mean=mean, std=std, seed=seed)
    return tuple(compute.place(batch) for batch in torch.split(drawn, BATCH))
