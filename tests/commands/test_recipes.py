from __future__ import annotations

from pathlib import Path

from dsft.commands import recipes
from dsft.recipe import shipped_recipes


def test_the_shipped_recipes_are_listed() -> None:
    assert recipes.listing() == shipped_recipes()


def test_a_recipe_is_shown_with_its_comments() -> None:
    assert recipes.text("quickstart").startswith("# dsft finetune quickstart")


def test_a_copy_is_written_to_the_working_folder_by_default(here: Path) -> None:
    assert recipes.copy("quickstart", None, overwrite=False) == Path("quickstart.yaml")
    assert (here / "quickstart.yaml").read_text(encoding="utf-8") == recipes.text("quickstart")
