"""``dsft recipes check``: check everything about a recipe that is known without its data and weights."""

from __future__ import annotations

from collections.abc import Sequence

from dsft.assembly.recipe_rules import RULES, warn_about_machine
from dsft.progress import Report, ignore
from dsft.recipe import Recipe, load_recipe


def run(reference: str, overrides: Sequence[str] = (), report: Report = ignore) -> Recipe:
    """Load and check a recipe.

    Args:
        reference: A path, or the name of a recipe that ships with dsft.
        overrides: Changes to the recipe.
        report: Receives warnings about what this machine lacks to run the recipe.

    Raises:
        RecipeError: The recipe is invalid; the message lists every problem.
    """
    recipe = load_recipe(reference, overrides, RULES)
    warn_about_machine(recipe, report)
    return recipe
