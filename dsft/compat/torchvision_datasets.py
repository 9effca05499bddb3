"""The files and classes of torchvision's data sets, several of which keep them in private attributes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

_FILES = ("_image_files", "_images")
_TARGETS = ("_labels",)
_PAIRS = ("_samples",)


def list_files(dataset: Any) -> tuple[list[str | Path], list[int]]:
    """Return the image files of a data set and the class number of each.

    The attributes are looked up by name. If none has a known name, the lists as long as the data set are searched for
    one of files and one of whole numbers, or one of pairs of the two.

    Args:
        dataset: A data set of torchvision that reads image files.

    Raises:
        AttributeError: There are no such lists.
    """
    lists = {name: value for name, value in vars(dataset).items() if isinstance(value, list)}
    lists = {name: value for name, value in lists.items() if len(value) == len(dataset)}
    pairs = _named(lists, _PAIRS) or next((each for each in lists.values() if _are_pairs(each)), None)
    if pairs is not None:
        return [file for file, _ in pairs], [int(target) for _, target in pairs]
    files = _named(lists, _FILES) or next((each for each in lists.values() if _are_files(each)), None)
    targets = _named(lists, _TARGETS) or next((each for each in lists.values() if _are_numbers(each)), None)
    if files is None or targets is None:
        raise AttributeError(f"{type(dataset).__name__} has no list of files and classes")
    return list(files), [int(target) for target in targets]


def _named(lists: dict[str, list[Any]], names: Sequence[str]) -> list[Any] | None:
    return next((lists[name] for name in names if name in lists), None)


def _are_files(values: Sequence[Any]) -> bool:
    return all(isinstance(each, str | Path) for each in values) and all(Path(each).is_file() for each in values[:1])


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(each, int) for each in values)


def _are_pairs(values: Sequence[Any]) -> bool:
    return all(isinstance(each, tuple) and len(each) == 2 and isinstance(each[1], int) for each in values) and all(
        _are_files([each[0]]) for each in values[:1]
    )
