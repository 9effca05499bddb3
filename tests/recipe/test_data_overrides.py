from __future__ import annotations

import pytest

from dsft.choices import DataSource
from dsft.errors import RecipeError
from dsft.recipe import override_data
from dsft.recipe.sections import DataSection

DIGITS = DataSection(source=DataSource.DIGITS)


def test_keys_are_set_and_removed() -> None:
    section = DataSection(source=DataSource.FOLDER, root="a", image_size=32)
    changed = override_data(section, ["data.root=b", "~data.image_size", "data.val={fold: 1, folds: 3}"])
    assert (changed.root, changed.image_size, changed.val.folds) == ("b", None, 3)
    assert override_data(DIGITS, []) is DIGITS


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.sed=1", r"\(command\)  data\.sed: unknown key\. Did you mean data\.seed\?"),
        ("data.seed=x", r"\(command\)  data\.seed: expected .*found 'x'"),
        ("train.seed=1", r"train: only keys of data can be changed here, such as data\.seed=1"),
        ("data.root=x", r"data\.root: requires source folder"),
        ("~data", r"expected a section"),
        ("data", r"expected section\.key=value"),
    ],
)
def test_errors_are_reported_as_in_a_recipe(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        override_data(DIGITS, [override])
