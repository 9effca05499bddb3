"""Texts, as strings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsft.choices import InputKind
from dsft.data.inputs.input_type import InputType, Measures, Packed
from dsft.data.text import TextTransform, describe_text_steps, read_text, tokenize
from dsft.data.transforms import Transform
from dsft.preprocessing import InputPreprocessing, TextPreprocessing


class TextInput(InputType):
    """Implements :class:`InputType`; an example is a string."""

    kind: ClassVar = InputKind.TEXT
    extensions: ClassVar = frozenset({".txt"})
    in_words: ClassVar = True
    default_channels: ClassVar = 1
    measures: ClassVar = Measures({"tokens": 0})

    def read_file(self, path: Path) -> str:
        """Read a text file in UTF-8."""
        return read_text(path)

    def count_channels(self, example: str) -> int:
        """Return 1: a text has a number for each token."""
        del example
        return 1

    def content(self, example: str) -> bytes:
        """Return the tokens; texts that differ in spaces and capital letters only are equal for a network."""
        return " ".join(tokenize(example)).encode()

    def measure(self, example: str) -> Measures:
        """Return the number of tokens."""
        return Measures({"tokens": len(tokenize(example))})

    def picture(self, example: str, largest: int) -> NDArray[np.uint8]:
        """Raise an error, since a text is shown as it is."""
        raise NotImplementedError("texts are shown in words")

    def caption(self, example: str) -> str:
        """Return the text in one line."""
        return " ".join(example.split())

    def pack(self, example: str) -> Packed | None:
        """Return None: reading a text takes no time."""
        del example
        return None

    def unpack(self, packed: Packed) -> str:
        """Raise an error, since texts are not packed."""
        raise NotImplementedError("texts are not packed")

    def evaluation_transform(self, preprocessing: InputPreprocessing) -> Transform:
        """Return the transform to numbers of tokens."""
        return TextTransform(cast("TextPreprocessing", preprocessing))

    def describe_steps(self, preprocessing: InputPreprocessing) -> list[dict[str, Any]]:
        """Return the steps of the transform."""
        return describe_text_steps(cast("TextPreprocessing", preprocessing))

    def blank(self, preprocessing: InputPreprocessing, count: int) -> Tensor:
        """Return texts that consist of padding."""
        return torch.zeros(count, *preprocessing.shape, dtype=torch.int64)

    def noise(self, preprocessing: InputPreprocessing, count: int) -> Tensor:
        """Return texts of random tokens."""
        own = cast("TextPreprocessing", preprocessing)
        return torch.randint(own.num_tokens, (count, own.length), generator=torch.Generator().manual_seed(0))
