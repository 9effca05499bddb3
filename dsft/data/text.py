"""Texts: their tokens, their vocabulary, and their transform to numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dsft.errors import DataError
from dsft.preprocessing import FIRST_WORD, PADDING, UNKNOWN, TextPreprocessing

PATTERN = r"\w+(?:['\u2019]\w+)*|[^\w\s]"
"""A token: letters, digits and underscores, with apostrophes between them; or any other character that is no space."""

_TOKEN = re.compile(PATTERN)


def tokenize(text: str) -> list[str]:
    """Divide a text into tokens: in lower case, each the next match of :data:`PATTERN`.

    A language that is written without spaces, such as Chinese, gets one token for each run of characters; separate its
    words by spaces first.
    """
    return _TOKEN.findall(text.lower())


def build_vocabulary(texts: Iterable[str], max_words: int, min_count: int) -> tuple[str, ...]:
    """Return the most frequent tokens of texts, in descending order of frequency, equally frequent ones by alphabet.

    Args:
        texts: The texts of the train split.
        max_words: Number of tokens, at most.
        min_count: How often a token must occur.
    """
    counts = Counter(token for text in texts for token in tokenize(text))
    kept = sorted((-count, token) for token, count in counts.items() if count >= min_count)
    return tuple(token for _, token in kept[:max_words])


def require_tokens(text: str, name: str) -> str:
    """Return a text that has tokens unchanged.

    Args:
        text: The text.
        name: Its name in messages.

    Raises:
        DataError: It is empty.
    """
    if not text.strip():
        raise DataError(
            f"{name}: a text must have characters other than spaces, found {text[:20]!r}. Fill or remove it."
        )
    return text


def read_text(path: Path) -> str:
    """Read a text file in UTF-8.

    Raises:
        DataError: It cannot be read, or is empty.
    """
    try:
        # Some editors write a byte order mark.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise DataError(
            f"{str(path)!r} cannot be read as a text in UTF-8 ({type(error).__name__}: {error}). Repair or remove it."
        ) from error
    return require_tokens(text, repr(str(path)))


@dataclass(frozen=True)
class TextTransform:
    """Converts a text to the input of a network; picklable, as worker processes need it.

    Args:
        preprocessing: The input that the network expects.
    """

    preprocessing: TextPreprocessing

    def __call__(self, text: str) -> Tensor:
        """Return the numbers of the tokens ``(length,)``, int64."""
        length = self.preprocessing.length
        numbers = self.numbers(text)[:length]
        return torch.tensor(numbers + [PADDING] * (length - len(numbers)), dtype=torch.int64)

    def numbers(self, text: str) -> list[int]:
        """Return the numbers of all tokens of a text."""
        return [self._numbers.get(token, UNKNOWN) for token in tokenize(text)]

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        return {word: number for number, word in enumerate(self.preprocessing.words, FIRST_WORD)}


def describe_text_steps(preprocessing: TextPreprocessing) -> list[dict[str, Any]]:
    """Return the operations from a text to the input tensor, in order, as JSON values."""
    words = {"first": FIRST_WORD, "unknown": UNKNOWN, "words": "preprocessing.words"}
    return [
        {"op": "lower_case"},
        {"op": "tokenize", "pattern": PATTERN, "flavour": "Python re"},
        {"op": "number_tokens", **words},
        {"op": "cut_or_pad", "length": preprocessing.length, "padding": PADDING, "side": "end"},
        {"op": "to_int64"},
        {"op": "layout", "to": "NL"},
    ]
