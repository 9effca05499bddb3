"""``dsft convert``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dsft.choices import AUTO, Cost, Form, Method, Runtime
from dsft.cli.app import app
from dsft.cli.options import (
    BuilderOption,
    Classes,
    Data,
    DataOverrides,
    Device,
    DryRun,
    Exclude,
    ImageSize,
    Include,
    Json,
    MethodName,
    ModelOfFile,
    OrderName,
    Overwrite,
    Progress,
    SeedOption,
    SourceArgument,
    StructureNames,
    named_data,
    split_source,
)
from dsft.cli.session import reporting_errors, shown_progress
from dsft.errors import RecipeError
from dsft.number_format import percent_hint

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dsft.commands.convert import ConvertResult


@app.command()
@reporting_errors
def convert(
    source: SourceArgument = None,
    overrides: DataOverrides = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The new model folder.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Share of macs, params or latency that may be left, as macs=0.5; or max_drop=1.")
    ] = None,
    by: Annotated[Cost | None, typer.Option(help="The cost that max_drop minimizes; macs by default.")] = None,
    runtime: Annotated[Runtime, typer.Option(help="Runtime of the measurements of a budget.")] = Runtime.EAGER,
    rank: Annotated[str | None, typer.Option(help="Depthwise kernels of each channel, or 'full'.")] = None,
    data: Data = None,
    calibration_images: Annotated[int, typer.Option(min=1, help="Inputs to calibrate on, at most.")] = 512,
    method: MethodName = AUTO,
    order: OrderName = None,
    structures: StructureNames = None,
    form: Annotated[
        str, typer.Option(metavar="|".join([AUTO, *Form]), help="How channels are repeated; auto is measured.")
    ] = AUTO,
    only_faster: Annotated[bool, typer.Option("--only-faster", help="Keep dense what measures slower.")] = False,
    recover: Annotated[
        bool, typer.Option("--recover", help="Then train on the calibration inputs, without labels, for a few minutes.")
    ] = False,
    include: Include = None,
    exclude: Exclude = None,
    model: ModelOfFile = None,
    builder: BuilderOption = None,
    classes: Classes = None,
    image_size: ImageSize = None,
    seed: SeedOption = 0,
    device: Device = "auto",
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    progress: Progress = None,
) -> None:
    """Convert a checkpoint to depthwise-separable convolutions, without training.

    The data of --data, or the data that SOURCE was trained on, calibrates the conversion and scores it on val.
    """
    if out is None and not dry_run:
        raise RecipeError("--out: a folder for the converted model is needed, or --dry-run to only plan.")
    # Checked before torch is imported.
    name, changes = split_source(source, overrides, builder)
    asked_budget, asked_rank = _budget(budget, by, runtime), _rank(rank)
    if (asked_budget is None) == (asked_rank is None):
        found = "neither. Add --budget macs=0.5, or --rank 2" if asked_rank is None else "both. Remove one"
        raise RecipeError(f"exactly one of --budget and --rank is needed, found {found}.")
    with shown_progress(progress, None) as report:
        from dsft.assembly import Source
        from dsft.commands import convert as command
        from dsft.conversion import Request
        from dsft.conversion.request import read_recover, read_structures
        from dsft.conversion.words import read_setting

        request = Request(
            budget=asked_budget,
            rank=asked_rank,
            method=read_setting("--method", method, Method),
            structures=read_structures(structures, order),
            form=read_setting("--form", form, Form),
            include=include or ["*"],
            exclude=exclude or [],
            only_faster=only_faster,
            recover=read_recover(recover),
            seed=seed,
        )
        result = command.run(
            Source(name, model=model, builder=builder, classes=classes, image_size=image_size),
            None if dry_run else out,
            request,
            data=named_data(data, changes),
            calibration_images=calibration_images,
            device=device,
            overwrite=overwrite,
            report=report,
        )
    _show_conversion(result, as_json)


def _show_conversion(result: ConvertResult, as_json: bool) -> None:
    from dsft.console import (
        circumstances,
        costs_table,
        parameters_line,
        plan_table,
        print_json,
        print_result,
        verdict_lines,
    )

    if as_json:
        print_json(result.to_dict())
        return
    shown: list[RenderableType] = [plan_table(result.plan)]
    if result.costs is None or result.verdict is None:
        shown.append(parameters_line(result.plan))
    else:
        shown += [costs_table(result.costs), circumstances(result.costs.measured_on)]
        shown += [verdict_lines(result.verdict), f"model folder: {result.folder}"]
    print_result(*shown)


def _budget(budget: str | None, by: Cost | None, runtime: Runtime) -> dict[str, Any] | None:
    """Parse ``macs=0.4``, or ``max_drop=1`` with the cost that it minimizes."""
    name, _, number = (budget or "").partition("=")
    if by is not None and name != "max_drop":
        raise RecipeError(f"--by: goes with --budget max_drop=POINTS, found --budget {budget!r}.")
    if budget is None:
        if runtime is not Runtime.EAGER:
            raise RecipeError(f"--runtime: goes with --budget, found {str(runtime)!r} alone. Add --budget latency=0.5.")
        return None
    if name not in [*Cost, "max_drop"] or not _is_number(number):
        forms = ", ".join(f"{cost}=SHARE" for cost in Cost)
        raise RecipeError(f"--budget: expected {forms} or max_drop=POINTS, such as macs=0.4, found {budget!r}.")
    if name in [*Cost] and not 0 < float(number) <= 1:
        hint = percent_hint(float(number))
        raise RecipeError(f"--budget {name}: expected a share above 0 and up to 1, found {number}.{hint}")
    rest = {} if by is None else {"by": by}
    return {name: float(number), "runtime": runtime, **rest}


def _rank(rank: str | None) -> int | Literal["full"] | None:
    """Parse a whole number, or ``full``."""
    if rank is None:
        return None
    if rank == "full":
        return "full"
    if not rank.isdecimal():
        raise RecipeError(f"--rank: expected a whole number of at least 1, or full, found {rank!r}.")
    return int(rank)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
