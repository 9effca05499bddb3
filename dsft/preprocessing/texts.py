"""The evaluation transform of models that take texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dsft.choices import InputKind
from dsft.number_format import plural
from dsft.preprocessing.input_preprocessing import InputPreprocessing

PADDING, UNKNOWN, FIRST_WORD = 0, 1, 2
"""Numbers of the tokens behind the end of a text, outside of the vocabulary, and first in the vocabulary."""


@dataclass(frozen=True)
class TextPreprocessing(InputPreprocessing):
    """The evaluation transform of a model that takes texts, ``(length,)`` as numbers of tokens, int64.

    A text is divided into tokens, see :func:`dsft.data.text.tokenize`. The tokens of the vocabulary have the numbers
    2, 3, ..., all others 1; texts are cut off after ``length`` tokens, or padded with 0 at the end.

    Attributes:
        length: Number of tokens.
        words: The vocabulary, in the order of the numbers.
    """

    kind: ClassVar = InputKind.TEXT
    shared_keys: ClassVar = ("words",)
    size_key: ClassVar = "data.text"

    length: int
    words: tuple[str, ...]
    channels: int = field(default=1, init=False)
    mean: tuple[float, ...] = field(default=(), init=False)
    std: tuple[float, ...] = field(default=(), init=False)

    @property
    def size(self) -> tuple[int, ...]:
        """The length."""
        return (self.length,)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input, ``(length,)``."""
        return (self.length,)

    @property
    def num_tokens(self) -> int:
        """Number of different numbers of tokens."""
        return FIRST_WORD + len(self.words)

    @property
    def arguments(self) -> Mapping[str, int]:
        """The number of rows of an embedding, ``num_tokens``."""
        return {"num_tokens": self.num_tokens}

    @property
    def description(self) -> str:
        """Length and size of the vocabulary."""
        return f"{self.length} tokens, vocabulary of {plural(len(self.words), 'word')}"

    def to_dict(self) -> dict[str, Any]:
        """Return kind, length and vocabulary as JSON values."""
        return {"kind": self.kind.value, "length": self.length, "words": list(self.words)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TextPreprocessing:
        """Create an instance from the result of :meth:`to_dict`."""
        return cls(values["length"], tuple(values["words"]))
