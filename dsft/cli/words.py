"""Options that list several words of a closed set."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from dsft.errors import RecipeError

Word = TypeVar("Word", bound=StrEnum)


def read_words(option: str, text: str, words: type[Word]) -> tuple[Word, ...]:
    """Read a list such as ``eager,compiled``, without repetitions.

    Raises:
        RecipeError: A word is unknown.
    """
    known = [str(word) for word in words]
    found = [part.strip() for part in text.split(",")]
    if unknown := [part for part in found if part not in known]:
        raise RecipeError(f"{option}: expected {', '.join(known)}, found {unknown[0]!r}.")
    return tuple(dict.fromkeys(map(words, found)))
