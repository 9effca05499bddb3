"""The interface of the evaluation transform of a model, for any kind of input."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from dsft.choices import InputKind


class InputPreprocessing(ABC):
    """The evaluation transform of a model, for any kind of input.

    A new kind is a subclass in this package, with its word in :class:`dsft.choices.InputKind`, and an entry in
    :data:`dsft.data.inputs.INPUTS`.

    Attributes:
        kind: What the model takes.
        channels: Number of channels of an input.
        mean: Mean of each channel for the normalisation.
        std: Standard deviation of each channel for the normalisation.
        shared_keys: What two networks that get the same tensors must have in common.
        size_key: The key of a recipe by which the size of the input is chosen.
        window_overlap: Examples keep their size, and the network runs in windows of the input's size that overlap by
            this fraction; None if it runs on inputs of its own size.
    """

    kind: ClassVar[InputKind]
    shared_keys: ClassVar[tuple[str, ...]]
    size_key: ClassVar[str]

    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    window_overlap: float | None = None

    @property
    @abstractmethod
    def size(self) -> tuple[int, ...]:
        """The sizes of the model's input along the axes after the channels."""

    @property
    @abstractmethod
    def description(self) -> str:
        """The input in words, for messages and pages."""

    @property
    def views(self) -> int:
        """Number of inputs that are made of an example in evaluation, whose probabilities are averaged."""
        return 1

    @property
    def single(self) -> Self:
        """The same with one input for each example."""
        return self

    @property
    def arguments(self) -> Mapping[str, int]:
        """What a builder of the user's own needs to know to build a network for the input, by argument."""
        return {}

    @property
    def advice(self) -> str:
        """What to do if a network does not take the input, besides choosing another size; it starts with a space."""
        return ""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input, ``(channels, *size)``."""
        return (self.channels, *self.size)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with other attributes."""
        own: Any = self
        changed: Self = dataclasses.replace(own, **changes)
        return changed

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as JSON values; of any kind but images with ``kind``."""

    @classmethod
    @abstractmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Create an instance from the result of :meth:`to_dict`."""
