"""Random batches of unlabelled inputs, varied where they are images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from dsft.measure.example import ExampleInput

SHIFT = 8
"""Images are shifted by up to this fraction of their size: an eighth of it."""


class RandomBatches:
    """Draws batches from calibration data.

    Inputs that are single tensors of one size are pooled, drawn without repetition until all have been seen, and
    mixed in pairs; images are shifted and mirrored as well (mixup: Zhang et al. 2018, "mixup: Beyond Empirical Risk
    Minimization", eq. 1, with one weight for each input; no labels are mixed, since the original network gives the
    targets of the mixed inputs). Any other batches are taken as they are, in random order.

    Args:
        batches: Inputs as a network takes them; at least one.
        seed: Seed of the draws.
    """

    def __init__(self, batches: Sequence[ExampleInput], seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        tensors = [batch for batch in batches if isinstance(batch, Tensor) and batch.is_floating_point()]
        is_pooled = len(tensors) == len(batches) and len({tensor.shape[1:] for tensor in tensors}) == 1
        self._pool = torch.cat(tensors) if is_pooled else None
        self._batches = batches
        self._order: list[int] = []

    @property
    def varies(self) -> bool:
        """Whether batches are mixed, and not those that were given."""
        return self._pool is not None

    def draw(self, count: int) -> ExampleInput:
        """Return a batch: of ``count`` inputs, or of as many as there are, where they are pooled."""
        if self._pool is None:
            return self._batches[self._next(1, len(self._batches))[0]]
        images = self._pool[self._next(min(count, len(self._pool)), len(self._pool))]
        if images.dim() != 4:
            return self._mixed(images)
        # Depthwise convolutions and their gradients take half the time in this layout.
        return self._mixed(self._moved(images)).contiguous(memory_format=torch.channels_last)

    def _next(self, count: int, total: int) -> list[int]:
        if len(self._order) < count:
            self._order += torch.randperm(total, generator=self._generator).tolist()
        drawn, self._order = self._order[:count], self._order[count:]
        return drawn

    def _moved(self, images: Tensor) -> Tensor:
        """Shift each image, reflected at its edges, and mirror half of them."""
        height, width = images.shape[-2:]
        reach = [size // SHIFT for size in (height, width)]
        padded = functional.pad(images, (reach[1], reach[1], reach[0], reach[0]), mode="reflect")
        moved = torch.empty_like(images)
        for place, image in enumerate(padded):
            down, right = (int(torch.randint(2 * most + 1, (), generator=self._generator)) for most in reach)
            crop = image[:, down : down + height, right : right + width]
            is_mirrored = bool(torch.rand((), generator=self._generator) < 0.5)
            moved[place] = crop.flip(-1) if is_mirrored else crop
        return moved

    def _mixed(self, images: Tensor) -> Tensor:
        shape = (len(images), *(1,) * (images.dim() - 1))
        weights = torch.rand(shape, generator=self._generator).to(images)
        others = images[torch.randperm(len(images), generator=self._generator)]
        return weights * images + (1 - weights) * others
