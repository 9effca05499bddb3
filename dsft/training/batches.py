"""What training needs of a data loader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor


class TrainingBatch(Protocol):
    """Images with their labels."""

    @property
    def images(self) -> Tensor:
        """Model inputs ``(batch, channels, height, width)``."""

    @property
    def targets(self) -> Tensor:
        """The labels as the task has them, or blended ones: shares of the classes ``(batch, classes)``."""

    @property
    def number(self) -> int:
        """Its place among the batches of its epoch, counted from 0; one that nothing is left of counts too."""


class TrainingLoader(Protocol):
    """Batches of one epoch after another, each epoch a function of its number."""

    def epoch(self, number: int, start: int = 0) -> Iterator[TrainingBatch]:
        """Return the batches of an epoch, counted from 0, from the batch ``start`` on."""

    def __len__(self) -> int:
        """Return the most batches that an epoch has."""
