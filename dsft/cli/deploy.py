"""``dsft deploy``."""

from __future__ import annotations

from typing import Annotated

import typer

from dsft.choices import Runtime
from dsft.cli.app import app
from dsft.cli.options import (
    BuilderOption,
    Data,
    DataOverrides,
    Json,
    MaxDropOption,
    Progress,
    named_data,
    require_finite,
)
from dsft.cli.session import reporting_errors, shown_progress
from dsft.cli.words import read_words


@app.command()
@reporting_errors
def deploy(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run or model folder.")],
    overrides: DataOverrides = None,
    *,
    runtimes: Annotated[
        str | None, typer.Option("--runtime", help=f"{', '.join(Runtime)}; all that are usable by default.")
    ] = None,
    data: Data = None,
    images: Annotated[
        int | None, typer.Option("--images", "--inputs", min=1, help="Number of test inputs; all of them by default.")
    ] = None,
    calibration: Annotated[
        int, typer.Option("--calibration", min=1, help="Number of training inputs that calibrate int8.")
    ] = 256,
    max_drop: MaxDropOption = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of the timed passes.")] = 1,
    seconds: Annotated[
        float,
        typer.Option("--seconds", min=0.1, callback=require_finite, help="Approximate length of each measurement."),
    ] = 2.0,
    builder: BuilderOption = None,
    as_json: Json = False,
    progress: Progress = None,
) -> None:
    """Score and time a model in each usable runtime and number format, beside its unconverted network."""
    chosen = tuple(Runtime) if runtimes is None else read_words("--runtime", runtimes, Runtime)
    with shown_progress(progress, None) as report:
        from dsft.assembly import Source
        from dsft.commands import deploy as command
        from dsft.commands.check_inputs import CheckSettings

        check = CheckSettings(named_data(data, overrides), images=images, calibration_images=calibration)
        result = command.run(
            Source(model, builder=builder),
            command.DeploySettings(chosen, check, threads, seconds, max_drop),
            report=report,
        )
    from dsft.console import deployment_notes, deployment_table, print_json, print_result

    if as_json:
        print_json(result.to_dict())
    else:
        print_result(deployment_table(result), *deployment_notes(result))
