"""Patterns of parameter names, and the words that stand for some of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase

from dsft.errors import RecipeError, did_you_mean


def match_parameters(
    place: str, pattern: str, names: Sequence[str], words: Mapping[str, Collection[str]]
) -> frozenset[str]:
    """Return the parameters that a pattern, such as ``layer4.*``, or a word, such as ``head``, stands for.

    Args:
        place: The recipe's key, for the message.
        pattern: Compared with whole names, ``*`` standing for anything.
        names: The parameters that train.
        words: Names that each word stands for.

    Raises:
        RecipeError: There is none.
    """
    if pattern in words:
        found = frozenset(words[pattern]).intersection(names)
    else:
        found = frozenset(name for name in names if fnmatchcase(name, pattern))
    if not found:
        tops = list(dict.fromkeys(name.split(".")[0] for name in names))
        hint = did_you_mean(pattern.split(".")[0], [*words, *tops]) if pattern not in words else ""
        raise RecipeError(
            f"{place}: must match a parameter that trains, found {pattern!r}, which matches none.{hint} "
            f"Patterns are matched with whole parameter names, such as {names[0]!r} by '{tops[0]}*'; "
            f"the words are {' and '.join(words)}."
        )
    return found
