"""Names of splits and classes in data sets."""

from __future__ import annotations

from collections.abc import Iterable

from dsft.choices import SplitName

_SYNONYMS = {
    SplitName.TRAIN: ("train", "training"),
    SplitName.VAL: ("val", "valid", "validation"),
    SplitName.TEST: ("test", "testing"),
}


def parse_split(name: str) -> SplitName | None:
    """Return the split with this name or synonym, ignoring case, or None."""
    return next((split for split, synonyms in _SYNONYMS.items() if name.strip().casefold() in synonyms), None)


def sorted_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct labels in order; if all are integers, in numerical order."""
    once = set(labels)
    return tuple(sorted(once, key=int) if all(_is_integer(label) for label in once) else sorted(once))


def _is_integer(label: str) -> bool:
    # int() also accepts "1_0" and " 7", which would be confused with "10" and "7".
    return label.isascii() and label.isdigit() and str(int(label)) == label
