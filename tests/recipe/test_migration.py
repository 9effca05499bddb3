from __future__ import annotations

from pathlib import Path

import pytest

from dsft.choices import Structure
from dsft.errors import RecipeError
from dsft.recipe import dump_recipe, load_recipe

RECIPE = """version: 1
name: stored
model: {{source: timm, name: test_resnet}}
data: {{source: digits}}
convert: {{{convert}}}
"""


def write(folder: Path, convert: str, *, is_run: bool) -> str:
    (folder / "recipe.yaml").write_text(RECIPE.format(convert=convert))
    if is_run:
        (folder / "run.json").write_text("{}")
    return str(folder / "recipe.yaml")


@pytest.mark.parametrize(
    ("convert", "structures"),
    [
        ("order: auto, structures: [dw_pw, pw_dw], rank: 1", ["dw_pw", "pw_dw"]),
        ("order: auto, rank: 1", ["dw_pw", "pw_dw"]),
        ("order: pw_dw, structures: [dw_pw, pw_dw], rank: 1", ["pw_dw"]),
        ("order: dw_pw, structures: [low_rank, dw_pw, pw_dw], rank: 1", ["dw_pw", "low_rank"]),
        ("order: dw_pw, rank: 1", ["dw_pw"]),
        ("structures: [pw_dw], rank: 1", ["pw_dw"]),
    ],
)
def test_the_recipe_of_a_run_of_the_first_edition_is_read(tmp_path: Path, convert: str, structures: list[str]) -> None:
    recipe = load_recipe(write(tmp_path, convert, is_run=True))
    assert recipe.convert is not None
    assert recipe.convert.structures == [Structure(name) for name in structures]
    assert "order" not in dump_recipe(recipe)


def test_a_recipe_that_a_person_wrote_learns_the_new_key(tmp_path: Path) -> None:
    place = write(tmp_path, "order: dw_pw, rank: 1", is_run=False)
    with pytest.raises(RecipeError, match=r"recipe.yaml:5  convert\.order: was replaced by convert\.structures"):
        load_recipe(place)
    with pytest.raises(RecipeError, match=r"\(command\)  convert\.order: was replaced by convert\.structures"):
        load_recipe(write(tmp_path, "rank: 1", is_run=True), ["convert.order=pw_dw"])
