"""``dsft data``."""

from __future__ import annotations

from typing import Annotated

import typer

from dsft.cli.app import app
from dsft.cli.options import Json, Overrides, Progress
from dsft.cli.session import reporting_errors, shown_progress

data_app = typer.Typer(no_args_is_help=True, help="Check data sets.")
app.add_typer(data_app, name="data")


@data_app.command("check")
@reporting_errors
def data_check(
    data: Annotated[
        str, typer.Argument(metavar="RECIPE|FOLDER", help="A recipe, or a folder of images or other inputs.")
    ],
    overrides: Overrides = None,
    as_json: Json = False,
    progress: Progress = None,
) -> None:
    """Check every input: damaged files, class counts, sizes, duplicates, and inputs in two splits.

    The exit code is 1 if an input is damaged or in two splits.
    """
    with shown_progress(progress, None) as report:
        from dsft.commands import check_data

        result = check_data.run(data, overrides or [], report)
    from dsft.console import classes_table, contents_table, print_json, print_result, problem_tables

    if as_json:
        print_json(result.to_dict())
    else:
        classes = [classes_table(result.check)] if result.check.has_classes else []
        print_result(contents_table(result.check), *classes, *problem_tables(result.check))
    if not result.check.is_clean:
        raise typer.Exit(1)
