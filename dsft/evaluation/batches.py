"""What evaluation needs of a data loader."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Protocol

from torch import Tensor


class LabelledBatch(Protocol):
    """Images with their classes, and where in the split they stand."""

    @property
    def images(self) -> Tensor:
        """Preprocessed images ``(batch, channels, height, width)``."""

    @property
    def targets(self) -> Tensor:
        """Class numbers ``(batch,)``, int64, or 0 and 1 ``(batch, classes)``, float32, as the task has them."""

    @property
    def positions(self) -> Tensor:
        """Indices within the split ``(batch,)``, int64."""


class BatchSource(Protocol):
    """A split, batch by batch, every image at most once."""

    @property
    def skipped(self) -> Collection[str]:
        """The keys of the images that could not be read and were left out."""

    def epoch(self, number: int) -> Iterator[LabelledBatch]:
        """Yield the batches of one pass over the split."""
