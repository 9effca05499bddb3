"""What data sets call their splits and classes."""

from __future__ import annotations

from collections.abc import Iterable

from dsft.choices import SplitName

_SYNONYMS = {
    SplitName.TRAIN: ("train", "training"),
    SplitName.VAL: ("val", "valid", "validation"),
    SplitName.TEST: ("test", "testing"),
}


def named_split(name: str) -> SplitName | None:
    """Return the split that a name means, in upper or lower case, or None."""
    return next((split for split, synonyms in _SYNONYMS.items() if name.strip().casefold() in synonyms), None)


def sorted_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Return each label once, sorted; whole numbers by their value, so that 10 comes after 9."""
    once = set(labels)
    return tuple(sorted(once, key=int) if all(_is_whole(label) for label in once) else sorted(once))


def _is_whole(label: str) -> bool:
    # int() would take "1_0" and " 7" as well, and other writings of a number that would not stay apart.
    return label.isascii() and label.isdigit() and str(int(label)) == label
