from __future__ import annotations

from pathlib import Path

import pytest

from dsft.commands import recipes
from dsft.errors import RecipeError
from dsft.recipe import load_recipe, shipped_recipes


def test_the_shelf_is_listed() -> None:
    assert recipes.listing() == shipped_recipes()


def test_a_recipe_is_shown_with_its_comments() -> None:
    assert recipes.text("quickstart").startswith("# dsft finetune quickstart")


def test_a_copy_goes_into_the_working_folder_by_default(here: Path) -> None:
    assert recipes.copy("quickstart", None, overwrite=False) == Path("quickstart.yaml")
    assert (here / "quickstart.yaml").read_text(encoding="utf-8") == recipes.text("quickstart")


def test_a_recipe_is_checked_with_its_overrides() -> None:
    assert recipes.check("quickstart", ["optim.lr=1e-4"]).optim.lr == 1e-4
    assert recipes.check("quickstart", []) == load_recipe("quickstart")
    with pytest.raises(RecipeError, match=r"Did you mean optim\.lr\?"):
        recipes.check("quickstart", ["optim.lrr=1"])
