"""``dsft data check``: check all images before a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from dsft.assembly import open_splits
from dsft.assembly.inputs import data_input
from dsft.assembly.named_data import NamedData
from dsft.assembly.text_inputs import TextData, count_unknown
from dsft.data import DataCheck, Split, check_examples
from dsft.data.checking import PartCounter
from dsft.progress import Report, ignore
from dsft.recipe.sections import DataSection


@dataclass(frozen=True)
class CheckDataResult:
    """The result of the check of a recipe's data or a folder."""

    data: str
    check: DataCheck

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        check = self.check
        return {
            "data": self.data,
            "clean": check.is_clean,
            "splits": {name.value: contents.to_dict() for name, contents in check.splits.items()},
            "corrupt": [vars(image) for image in check.corrupt],
            "leaks": [_places(same.places) for same in check.same if same.is_leak],
            "duplicates": [_places(same.places) for same in check.same if not same.is_leak],
            "contradictions": [_places(same.places) for same in check.same if same.is_contradiction],
        }


def run(data: str, overrides: Sequence[str] = (), report: Report = ignore) -> CheckDataResult:
    """Check the data of a recipe, of a run or in a folder, with the splits of a run.

    Args:
        data: A recipe, the folder of a run, or a folder of inputs, see :func:`dsft.data.open_folder`.
        overrides: Changes to its data section.
        report: Receives the progress.

    Raises:
        InputError: The data cannot be opened, or the classes of the splits do not match.
    """
    section = NamedData(data, tuple(overrides), argument="data").section(None, data)
    splits = open_splits(section, report)
    parts = [split for split in (splits.train, splits.val, splits.test) if split is not None]
    return CheckDataResult(data, check_examples(parts, report, _part_counter(section, splits.train)))


def _part_counter(section: DataSection, train: Split) -> PartCounter:
    """Return what counts the tokens of a text that are not in the vocabulary of the train split."""
    inputs = data_input(section, train)
    if not isinstance(inputs, TextData):
        return lambda _: {}
    return partial(count_unknown, inputs.fit(None))


def _places(places: Sequence[tuple[str, str, str]]) -> list[dict[str, str]]:
    return [{"split": split, "key": key, "class": label} for split, key, label in places]
