"""Settings with a closed list of values, which may be given as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal, TypeVar

from dsft.choices import AUTO
from dsft.errors import ConversionError, did_you_mean

Auto = Literal["auto"]
Word = TypeVar("Word", bound=StrEnum)


def read_setting(argument: str, value: str, words: type[Word]) -> Word | Auto:
    """Return the named member of a closed list, or ``auto``.

    Raises:
        ConversionError: ``value`` is neither.
    """
    return AUTO if value == AUTO else read_word(argument, value, words, AUTO)


def read_word(argument: str, value: str, words: type[Word], *others: str) -> Word:
    """Return the named member of a closed list.

    Raises:
        ConversionError: There is no such member; ``others`` are listed with the members.
    """
    known = [*others, *map(str, words)]
    if value in list(words):
        return words(value)
    raise ConversionError(
        f"{argument}: one of {', '.join(known)} is needed, found {str(value)!r}.{did_you_mean(str(value), known)}"
    )


def read_words(argument: str, values: Sequence[str], words: type[Word]) -> list[Word]:
    """Return the named members of a closed list.

    Raises:
        ConversionError: One does not exist, or ``values`` is not a list.
    """
    require_list(argument, "names", values)
    return [read_word(argument, value, words) for value in values]


def require_list(argument: str, what: str, values: Sequence[str]) -> None:
    """Check that a list is no single text.

    Raises:
        ConversionError: It is.
    """
    if isinstance(values, str):
        raise ConversionError(f"{argument}: a list of {what} is needed, such as [{values!r}], found {values!r}.")
