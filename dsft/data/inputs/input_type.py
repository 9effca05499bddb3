"""The interface of a kind of input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsft.choices import InputKind
from dsft.data.transforms import Transform
from dsft.preprocessing import InputPreprocessing


@dataclass(frozen=True)
class Measures:
    """What a check of a data set measures of an example.

    Attributes:
        sizes: Numbers of which the check shows the smallest, the median and the largest, by their name in plural.
        flags: Properties of which the check counts how many examples have them.
    """

    sizes: Mapping[str, int] = field(default_factory=dict)
    flags: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Packed:
    """A decoded example as bytes, for a cache.

    Attributes:
        content: Its bytes.
        header: Three numbers that restore it; the last one is above 0.
    """

    content: NDArray[np.uint8]
    header: tuple[int, int, int]


class InputType(ABC):
    """A kind of input. What is called an example is the type that :meth:`read_file` returns.

    Attributes:
        kind: Its word.
        extensions: The endings of files that contain one example.
        folder_extensions: The endings of files of which a folder is one example; empty if no folder is.
        in_words: Examples are shown in words and not as pictures.
        default_channels: Channels of data of which no example can be read.
        measures: What :meth:`measure` returns of any example, with zeros.
    """

    kind: ClassVar[InputKind]
    extensions: ClassVar[frozenset[str]]
    folder_extensions: ClassVar[frozenset[str]] = frozenset()
    in_words: ClassVar[bool] = False
    default_channels: ClassVar[int]
    measures: ClassVar[Measures]

    @abstractmethod
    def read_file(self, path: Path) -> Any:
        """Decode a file.

        Raises:
            DataError: It cannot be read.
        """

    @abstractmethod
    def count_channels(self, example: Any) -> int:
        """Return the number of channels of an example."""

    @abstractmethod
    def content(self, example: Any) -> bytes:
        """Return bytes that two examples share only if they are equal."""

    @abstractmethod
    def measure(self, example: Any) -> Measures:
        """Return what a check of the data shows."""

    @abstractmethod
    def picture(self, example: Any, largest: int) -> NDArray[np.uint8]:
        """Return a picture ``(height, width)`` or ``(height, width, 3)`` with sides of at most ``largest`` pixels."""

    def caption(self, example: Any) -> str:
        """Return an example in one line, if it is shown in words."""
        raise NotImplementedError(f"{self.kind.plural} are shown as pictures, found {type(example).__name__}")

    @abstractmethod
    def pack(self, example: Any) -> Packed | None:
        """Return an example as bytes; None if it cannot be restored exactly."""

    @abstractmethod
    def unpack(self, packed: Packed) -> Any:
        """Return the example that was packed."""

    @abstractmethod
    def evaluation_transform(self, preprocessing: InputPreprocessing) -> Transform:
        """Return the transform for validation, test and prediction."""

    @abstractmethod
    def describe_steps(self, preprocessing: InputPreprocessing) -> list[dict[str, Any]]:
        """Return the operations from a file to the input tensor, in order, as JSON values."""

    def blank(self, preprocessing: InputPreprocessing, count: int) -> Tensor:
        """Return black images, or other inputs of zeros, ``(count, *shape)`` on the CPU."""
        return torch.zeros(count, *preprocessing.shape)

    def noise(self, preprocessing: InputPreprocessing, count: int) -> Tensor:
        """Return random inputs ``(count, *shape)`` on the CPU, always the same ones."""
        return torch.randn(count, *preprocessing.shape, generator=torch.Generator().manual_seed(0))
