"""Names of splits and classes in data sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from dsft.choices import SplitName
from dsft.errors import DataError
from dsft.progress import Note

_SYNONYMS = {
    SplitName.TRAIN: ("train", "training"),
    SplitName.VAL: ("val", "valid", "validation"),
    SplitName.TEST: ("test", "testing"),
}


def parse_split(name: str) -> SplitName | None:
    """Return the split with this name or synonym, ignoring case, or None."""
    return next((split for split, synonyms in _SYNONYMS.items() if name.strip().casefold() in synonyms), None)


def split_files(folder: Path, ending: str) -> dict[SplitName, Path]:
    """Find the file of each split in a folder by its name, such as ``train.csv``, in the order of the splits.

    Raises:
        DataError: There are two files for a split.
    """
    named = [(parse_split(path.stem), path) for path in sorted(folder.glob(f"*{ending}"))]
    files: dict[SplitName, Path] = {}
    for split in SplitName:
        matches = [path for found, path in named if found is split]
        if len(matches) > 1:
            found = " and ".join(repr(path.name) for path in matches)
            raise DataError(
                f"data.root {str(folder)!r}: there must be one file for {split}, found {found}. Remove one."
            )
        if matches:
            files[split] = matches[0]
    return files


def describe_splits(places: Mapping[SplitName, Path]) -> Note:
    """Return a note on the folder or file that is used for each split."""
    return Note(f"data: {', '.join(f'{str(place)!r} as {split}' for split, place in places.items())}")


def sorted_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct labels in order; if all are integers, in numerical order."""
    once = set(labels)
    return tuple(sorted(once, key=int) if all(_is_integer(label) for label in once) else sorted(once))


def _is_integer(label: str) -> bool:
    # int() also accepts "1_0" and " 7", which would be confused with "10" and "7".
    return label.isascii() and label.isdigit() and str(int(label)) == label
