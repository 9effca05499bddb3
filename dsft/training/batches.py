"""What training requires of a data loader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

from dsft.choices import InputKind


class TrainingBatch(Protocol):
    """Images with their targets."""

    @property
    def images(self) -> Tensor:
        """Model inputs ``(batch, channels, height, width)``."""

    @property
    def targets(self) -> Tensor:
        """Targets of the task, or shares of the classes ``(batch, classes)`` after mixup or CutMix."""

    @property
    def number(self) -> int:
        """Number of the batch in its epoch, counted from 0; batches without a readable image count too."""


class TrainingLoader(Protocol):
    """The batches of each epoch, as a function of the epoch's number; in several processes, this one's part of them."""

    def epoch(self, number: int, start: int = 0) -> Iterator[TrainingBatch]:
        """Return the batches of an epoch, counted from 0, beginning with batch ``start``."""

    def images_in(self, number: int) -> int | None:
        """Return the number of images of a batch in all processes; None if unreadable images are left out of it."""

    def __len__(self) -> int:
        """Return the maximum number of batches in an epoch."""


def kind_of(loader: TrainingLoader) -> InputKind:
    """Return what the inputs are; images unless the attribute ``input_kind`` of the loader says otherwise."""
    kind: InputKind = getattr(loader, "input_kind", InputKind.IMAGE)
    return kind
