"""What evaluation needs from a data loader and a split."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from torch import Tensor

from dsft.choices import InputKind
from dsft.data.windows import Windows


class LabelledBatch(Protocol):
    """Images with their targets, and their positions in the split."""

    @property
    def images(self) -> Tensor:
        """Preprocessed images ``(batch, channels, height, width)``."""

    @property
    def targets(self) -> Tensor:
        """Targets in the representation of the task, such as class indices ``(batch,)``, int64."""

    @property
    def positions(self) -> Tensor:
        """Positions in the split ``(batch,)``, int64."""


class BatchSource(Protocol):
    """The batches of a split, with every image at most once."""

    @property
    def windows(self) -> Windows | None:
        """The windows in which a network runs on the images; None if it takes them as they are."""

    @property
    def skipped(self) -> Collection[str]:
        """The keys of the unreadable images, which are skipped."""

    def epoch(self, number: int) -> Iterator[LabelledBatch]:
        """Yield the batches of one pass over the split."""


def views_of(source: BatchSource) -> int:
    """Return how many inputs a batch has for each example; 1 unless the attribute ``views`` says otherwise."""
    views: int = getattr(source, "views", 1)
    return views


def kind_of(split: EvaluatedSplit) -> InputKind:
    """Return what the examples of a split are; images unless its attribute ``input_kind`` says otherwise."""
    kind: InputKind = getattr(split, "input_kind", InputKind.IMAGE)
    return kind


class EvaluatedSplit(Protocol):
    """The names that an evaluation needs, as those of :class:`dsft.data.Split`."""

    @property
    def name(self) -> str:
        """Name of the split."""

    @property
    def keys(self) -> Sequence[str]:
        """Key of each image, by position."""

    @property
    def classes(self) -> Sequence[str]:
        """The class table, in the order of the outputs."""
