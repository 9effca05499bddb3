"""``dsft data check``: read every image once and say what would spoil a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsft.assembly import open_splits
from dsft.choices import DataSource
from dsft.data import DataCheck, check_images
from dsft.errors import InputError
from dsft.progress import Report, ignore
from dsft.recipe import load_recipe
from dsft.recipe.sections import DataSection


@dataclass(frozen=True)
class CheckDataResult:
    """What was found in which data."""

    data: str
    check: DataCheck

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        check = self.check
        return {
            "data": self.data,
            "clean": check.is_clean,
            "splits": {name.value: vars(contents) for name, contents in check.splits.items()},
            "corrupt": [vars(image) for image in check.corrupt],
            "leaks": [_places(same.places) for same in check.same if same.is_leak],
            "duplicates": [_places(same.places) for same in check.same if not same.is_leak],
            "contradictions": [_places(same.places) for same in check.same if same.is_contradiction],
        }


def run(data: str, overrides: Sequence[str] = (), report: Report = ignore) -> CheckDataResult:
    """Check the data of a recipe, or a folder of images, split as a run would split it.

    Args:
        data: A recipe, or a folder with one folder a class, or with these for each split.
        overrides: Changes to the recipe.
        report: Receives the progress.

    Raises:
        InputError: The data cannot be opened, or its splits do not agree.
    """
    if Path(data).is_dir():
        if overrides:
            raise InputError(f"overrides {list(overrides)!r}: they change a recipe, and {data!r} is a folder.")
        section = DataSection(source=DataSource.FOLDER, root=data)
    else:
        section = load_recipe(data, overrides).data
    splits = open_splits(section, report)
    parts = [split for split in (splits.train, splits.val, splits.test) if split is not None]
    return CheckDataResult(data, check_images(parts, report))


def _places(places: Sequence[tuple[str, str, str]]) -> list[dict[str, str]]:
    return [{"split": split, "key": key, "class": label} for split, key, label in places]
