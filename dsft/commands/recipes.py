"""``dsft recipes``: the shipped recipes."""

from __future__ import annotations

from pathlib import Path

from dsft.recipe import ShippedRecipe, copy_recipe, shipped_path, shipped_recipes


def listing() -> tuple[ShippedRecipe, ...]:
    """Return the shipped recipes."""
    return shipped_recipes()


def text(name: str) -> str:
    """Return the YAML text of a shipped recipe, including its comments."""
    return shipped_path(name).read_text(encoding="utf-8")


def copy(name: str, target: Path | None, *, overwrite: bool) -> Path:
    """Copy a shipped recipe to a file or into a folder; by default into the working directory."""
    return copy_recipe(name, target or Path(), overwrite)
