"""Crops of scikit-learn's two sample photographs, to calibrate a conversion on where there are no images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""The normalization of networks trained on ImageNet."""

SMALLEST, LARGEST = 32, 420
"""Sides of the crops in pixels before they are resized; the photographs are 427 pixels high."""

BRIGHTNESS = (0.6, 1.4)


def photographs(
    image_size: tuple[int, int],
    count: int = 512,
    *,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    seed: int = 0,
) -> Tensor:
    """Return random crops of two photographs, preprocessed as a network takes images.

    The crops are of all scales, mirrored, with permuted color channels and varied brightness. They are worth a good
    part of real images; random noise is worse than no calibration at all.

    Args:
        image_size: Height and width in pixels.
        count: Number of images.
        mean: Mean of each of three channels, for values from 0 to 1.
        std: Standard deviation of each channel.
        seed: Seed of the crops.

    Returns:
        ``(count, 3, height, width)``, float32.

    Raises:
        ValueError: ``count`` is below 1, or ``mean`` or ``std`` have not three numbers.
    """
    if count < 1 or len(mean) != 3 or len(std) != 3:
        raise ValueError(
            f"photographs: a count of at least 1 and three numbers in mean and std are needed, found {count}, "
            f"{list(mean)} and {list(std)}"
        )
    # Importing scikit-learn takes a second.
    from sklearn.datasets import load_sample_images

    generator = np.random.default_rng(seed)
    sources = [torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in load_sample_images().images]  # type: ignore[no-untyped-call]
    # Small networks take small crops as they are; an image of 224 pixels is not made from 32.
    smallest = min(max(SMALLEST, max(image_size) // 2), LARGEST)
    images = torch.stack([_crop(sources, image_size, smallest, generator) for _ in range(count)])
    shape = (1, 3, 1, 1)
    return (images - torch.tensor(mean).reshape(shape)) / torch.tensor(std).reshape(shape)


def _crop(sources: Sequence[Tensor], size: tuple[int, int], smallest: int, generator: np.random.Generator) -> Tensor:
    source = sources[int(generator.integers(len(sources)))]
    # Uniform in the logarithm, so that no scale is rare.
    side = round(math.exp(generator.uniform(math.log(smallest), math.log(LARGEST))))
    top, left = (int(generator.integers(length - side + 1)) for length in source.shape[1:])
    crop = source[torch.from_numpy(generator.permutation(3)), top : top + side, left : left + side]
    crop = crop.unsqueeze(0).float() / 255
    image = functional.interpolate(crop, size, mode="bilinear", antialias=True)[0]
    image = image.flip(-1) if generator.random() < 0.5 else image
    return (image * generator.uniform(*BRIGHTNESS)).clamp(0, 1)
