"""Tensors as pictures with 8 bits per channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


def unit_picture(image: Tensor) -> NDArray[np.uint8]:
    """Return an image ``(channels, height, width)`` with values from 0 to 1 as a picture; others are clipped."""
    pixels = (image.detach().float().clamp(0, 1) * 255).round().byte().cpu().numpy()
    return np.ascontiguousarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))


def stretched_picture(image: Tensor) -> NDArray[np.uint8]:
    """Return a normalised image as a picture, from black at its smallest value to white at its largest."""
    low, high = image.min(), image.max()
    return unit_picture((image - low) / (high - low).clamp_min(1e-6))


def as_plane(values: Tensor) -> Tensor:
    """Return values ``(..., *size)`` of a picture, a signal or a volume as a plane ``(..., height, width)``.

    A signal with one axis becomes a strip; of a volume this is the middle along its first axis.

    Args:
        values: ``(channels, *size)`` with one, two or three axes after the channels.
    """
    if values.ndim == 2:
        return values[:, None].expand(-1, max(values.shape[1] // 8, 1), -1)
    return values[:, values.shape[1] // 2] if values.ndim == 4 else values


def class_colours(count: int) -> NDArray[np.uint8]:
    """Return distinct colours ``(count, 3)``, black first: the bits of a class index, dealt to red, green and blue."""
    indices = np.arange(count)
    colours = np.zeros((count, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((indices >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours


def coloured_mask(mask: Tensor) -> NDArray[np.uint8]:
    """Return a mask of class indices ``(height, width)`` below 256 in the colours of the classes."""
    return class_colours(256)[mask.cpu().numpy().astype(np.int64)]
