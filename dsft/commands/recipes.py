"""``dsft recipes``: the recipes that ship, and checking one's own."""

from __future__ import annotations

from pathlib import Path

from dsft.recipe import Recipe, ShippedRecipe, copy_recipe, load_recipe, shipped_path, shipped_recipes


def listing() -> tuple[ShippedRecipe, ...]:
    """Return the shipped recipes."""
    return shipped_recipes()


def text(name: str) -> str:
    """Return the YAML text of a shipped recipe, comments included."""
    return shipped_path(name).read_text(encoding="utf-8")


def copy(name: str, target: Path | None, *, overwrite: bool) -> Path:
    """Copy a shipped recipe to a file or into a folder; into the current folder by default."""
    return copy_recipe(name, target or Path(), overwrite)


def check(reference: str, overrides: list[str]) -> Recipe:
    """Read a recipe with its overrides and return it resolved.

    Raises:
        RecipeError: All that is wrong with it, in one message.
    """
    return load_recipe(reference, overrides)
