"""Overlapping windows, in which a network of a fixed input size runs on images or volumes of any size."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dsft.preprocessing import InputPreprocessing


@dataclass(frozen=True)
class Windows:
    """Runs a network in windows and averages the outputs where they overlap, as sliding inference of mmsegmentation.

    Attributes:
        size: Size of a window along each axis, such as height and width.
        overlap: Fraction of a window that the next one covers as well, 0 to below 1.
        batch_size: Windows that are run at once.
    """

    size: tuple[int, ...]
    overlap: float
    batch_size: int

    @classmethod
    def of(cls, preprocessing: InputPreprocessing, batch_size: int) -> Windows | None:
        """Return the windows that a network's evaluation transform asks for; None if it asks for none."""
        if preprocessing.window_overlap is None:
            return None
        return cls(preprocessing.size, preprocessing.window_overlap, batch_size)

    def run(self, network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Return the averaged outputs ``(batch, outputs, *size)``, float32.

        Images that are smaller than a window are enlarged to its size by repeating their border, and the output is
        cropped to the image.

        Args:
            network: Returns ``(windows, outputs, *window)`` for ``(windows, channels, *window)``.
            images: ``(batch, channels, *size)``.
        """
        own = images.shape[2:]
        missing = [max(side - length, 0) for side, length in zip(self.size, own, strict=True)]
        if any(missing):
            # torch counts the axes from the last one, and pads at both ends.
            images = functional.pad(images, [end for more in reversed(missing) for end in (0, more)], mode="replicate")
        total, count = images.new_zeros(()), images.new_zeros(images.shape[2:], dtype=torch.float32)
        for places in _chunks(self.places(images.shape[2:]), max(self.batch_size // len(images), 1)):
            outputs = network(torch.cat([images[_all(place)] for place in places])).float()
            for place, output in zip(places, torch.split(outputs, len(images)), strict=True):
                if not total.ndim:
                    total = output.new_zeros(*output.shape[:2], *images.shape[2:])
                total[_all(place)] += output
                count[place] += 1
        averaged = total / count
        for axis, length in enumerate(own, 2):
            averaged = averaged.narrow(axis, 0, length)
        return averaged

    def places(self, size: Sequence[int]) -> list[tuple[slice, ...]]:
        """Return the windows in an image of a size, which is at least that of a window along each axis.

        Neighbours overlap by at least the given fraction; the last one along an axis ends at the border.
        """
        starts = [self._starts(length, side) for length, side in zip(size, self.size, strict=True)]
        return [
            tuple(slice(start, start + side) for start, side in zip(corner, self.size, strict=True))
            for corner in itertools.product(*starts)
        ]

    def _starts(self, length: int, side: int) -> list[int]:
        stride = max(int(side * (1 - self.overlap)), 1)
        return [*range(0, length - side, stride), length - side]


def _all(place: tuple[slice, ...]) -> tuple[Any, ...]:
    """Return the index of a window in all channels of all images."""
    return (..., *place)


def _chunks(places: Sequence[tuple[slice, ...]], size: int) -> Iterator[Sequence[tuple[slice, ...]]]:
    for start in range(0, len(places), size):
        yield places[start : start + size]
