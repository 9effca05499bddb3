"""Patterns of parameter names, and words that stand for groups of parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase

from dsft.errors import RecipeError, did_you_mean


def match_parameters(
    place: str, pattern: str, names: Sequence[str], words: Mapping[str, Collection[str]]
) -> frozenset[str]:
    """Return the names of the parameters that match a pattern, such as ``layer4.*``, or a word, such as ``head``.

    Args:
        place: Key of the recipe, for the error message.
        pattern: Matched with whole names; ``*`` matches anything.
        names: Names of the parameters that are trained.
        words: Names of the parameters that each word stands for.

    Raises:
        RecipeError: No parameter matches.
    """
    if pattern in words:
        found = frozenset(words[pattern]).intersection(names)
    else:
        found = frozenset(name for name in names if fnmatchcase(name, pattern))
    if not found:
        tops = list(dict.fromkeys(name.split(".")[0] for name in names))
        hint = did_you_mean(pattern.split(".")[0], [*words, *tops]) if pattern not in words else ""
        raise RecipeError(
            f"{place}: must match a trainable parameter, found {pattern!r}, which matches none.{hint} "
            f"Patterns match whole parameter names, such as {names[0]!r} by '{tops[0]}*'; "
            f"the words are {' and '.join(words)}."
        )
    return found
