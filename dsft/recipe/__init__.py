"""The recipe: the YAML file that describes a run.

:func:`load_recipe` reads a recipe, merges it with the recipe that it extends, applies the overrides of the
command line, validates every key, and returns a frozen :class:`Recipe` or raises one error that lists all
problems. The package does not import torch. ``sections`` defines the keys, ``shipped`` the recipes that are
installed with dsft, and ``reference`` their documentation.
"""

from dsft.recipe.changes import CHANGEABLE, forbidden_changes
from dsft.recipe.data_overrides import override_data
from dsft.recipe.load import Rule, dump_recipe, load_recipe, make_recipe
from dsft.recipe.reference import json_schema, recipe_reference
from dsft.recipe.sections import Recipe
from dsft.recipe.shipped import ShippedRecipe, copy_recipe, recipes_folder, shipped_path, shipped_recipes

__all__ = [
    "CHANGEABLE",
    "Recipe",
    "Rule",
    "ShippedRecipe",
    "copy_recipe",
    "dump_recipe",
    "forbidden_changes",
    "json_schema",
    "load_recipe",
    "make_recipe",
    "override_data",
    "recipe_reference",
    "recipes_folder",
    "shipped_path",
    "shipped_recipes",
]
