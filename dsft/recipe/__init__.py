"""The recipe: the one file that says what a run does.

This room reads a YAML recipe, lays it over the one that it extends, applies the command's overrides,
checks every key, and hands a frozen :class:`Recipe` to the rooms above, or one error with all that is
wrong. It knows nothing of torch. ``sections`` has the keys, ``shelf`` the recipes that ship, and
``reference`` their description.
"""

from dsft.recipe.changes import CHANGEABLE, forbidden_changes
from dsft.recipe.load import dump_recipe, load_recipe
from dsft.recipe.reference import json_schema, recipe_reference
from dsft.recipe.sections import Recipe
from dsft.recipe.shelf import ShippedRecipe, copy_recipe, recipes_folder, shipped_path, shipped_recipes

__all__ = [
    "CHANGEABLE",
    "Recipe",
    "ShippedRecipe",
    "copy_recipe",
    "dump_recipe",
    "forbidden_changes",
    "json_schema",
    "load_recipe",
    "recipe_reference",
    "recipes_folder",
    "shipped_path",
    "shipped_recipes",
]
