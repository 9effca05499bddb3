"""``dsft lr-find``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dsft.cli.app import app
from dsft.cli.options import BuilderOption, Json, Overrides, Overwrite, Progress, RecipeArgument
from dsft.cli.session import read_recipe, reporting_errors, shown_progress


@app.command("lr-find")
@reporting_errors
def lr_find(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    builder: BuilderOption = None,
    low: Annotated[float, typer.Option("--low", help="Learning rate of the first step.")] = 1e-7,
    high: Annotated[float, typer.Option("--high", help="Learning rate of the last step.")] = 1.0,
    steps: Annotated[int, typer.Option("--steps", help="Maximum number of steps; fewer if the loss diverges.")] = 100,
    out: Annotated[Path, typer.Option("--out", "-o", help="File of the plot.")] = Path("lr-find.png"),
    overwrite: Overwrite = False,
    as_json: Json = False,
    progress: Progress = None,
) -> None:
    """Increase the learning rate step by step, plot the loss, and suggest a rate; no weights are saved."""
    loaded = read_recipe(recipe, overrides, builder)
    with shown_progress(progress, loaded) as report:
        from dsft.commands import lr_find as command

        result = command.run(loaded, low=low, high=high, steps=steps, out=out, overwrite=overwrite, report=report)
    from dsft.console import print_json, print_result, range_test_sentences

    if as_json:
        print_json(result.to_dict())
    else:
        print_result("\n".join([*range_test_sentences(result.test), f"plot: {result.picture}"]))
