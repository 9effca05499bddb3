"""``dsft recipes``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dsft.cli.app import app
from dsft.cli.options import Json, Overrides, RecipeArgument
from dsft.cli.session import reporting_errors, shown_progress

recipes_app = typer.Typer(no_args_is_help=True, help="List, show, copy and check recipes.")
app.add_typer(recipes_app, name="recipes")


@recipes_app.command("ls")
@reporting_errors
def recipes_ls() -> None:
    """List the recipes that ship with dsft."""
    from dsft.commands import recipes
    from dsft.console import build_table, print_result

    rows = [[f"dsft {recipe.verb} {recipe.name}", recipe.summary] for recipe in recipes.listing()]
    print_result(build_table(["command", "what it does"], rows))


@recipes_app.command("show")
@reporting_errors
def recipes_show(name: Annotated[str, typer.Argument(help="Name of a shipped recipe.")]) -> None:
    """Print a shipped recipe with its comments."""
    from dsft.commands import recipes
    from dsft.console import print_result

    print_result(recipes.text(name).rstrip("\n"))


@recipes_app.command("cp")
@reporting_errors
def recipes_cp(
    name: Annotated[str, typer.Argument(help="Name of a shipped recipe.")],
    target: Annotated[
        Path | None, typer.Argument(help="New file or existing folder; default: the working directory.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Copy a shipped recipe to a file of your own; the copy is named after the file."""
    from dsft.commands import recipes
    from dsft.console import print_result

    print_result(str(recipes.copy(name, target, overwrite=overwrite)))


@recipes_app.command("check")
@reporting_errors
def recipes_check(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="Print every key with its value.")] = False,
) -> None:
    """Check a recipe without its data and weights, and report every problem."""
    with shown_progress(None, None) as report:
        from dsft.commands import check_recipe

        checked = check_recipe.run(recipe, overrides or [], report)
    from dsft.console import print_result
    from dsft.recipe import dump_recipe

    print_result(dump_recipe(checked).rstrip("\n") if resolved else f"{recipe}: valid")


@recipes_app.command("schema")
@reporting_errors
def recipes_schema(as_json: Json = False) -> None:
    """Print every key of a recipe, as Markdown or as a JSON schema for editors."""
    from dsft.console import print_json, print_result
    from dsft.recipe import json_schema, recipe_reference

    if as_json:
        print_json(json_schema())
    else:
        print_result(recipe_reference().rstrip("\n"))
