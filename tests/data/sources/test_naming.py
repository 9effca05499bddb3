from __future__ import annotations

from pathlib import Path

import pytest

from dsft.choices import SplitName
from dsft.data.sources.naming import describe_splits, split_files
from dsft.errors import DataError


def test_files_are_found_by_the_names_of_their_splits(tmp_path: Path) -> None:
    for name in ("Testing.csv", "train.csv", "validation.csv", "notes.csv", "train.npz"):
        (tmp_path / name).touch()
    found = split_files(tmp_path, ".csv")
    assert list(found) == [SplitName.TRAIN, SplitName.VAL, SplitName.TEST]
    assert [path.name for path in found.values()] == ["train.csv", "validation.csv", "Testing.csv"]
    assert describe_splits({SplitName.VAL: Path("a b")}).message == "data: 'a b' as val"


def test_two_files_of_a_split_are_an_error(tmp_path: Path) -> None:
    for name in ("train.npz", "training.npz"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"one file for train, found 'train\.npz' and 'training\.npz'"):
        split_files(tmp_path, ".npz")
