"""``dsft convert`` and ``dsft evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dsft.choices import AUTO, Cost, Form, Method, Runtime, SplitName
from dsft.cli.app import app
from dsft.cli.options import (
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
    StructureNames,
)
from dsft.cli.session import reporting_errors, shown_progress
from dsft.errors import RecipeError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dsft.commands.evaluate import EvaluateResult


@app.command()
@reporting_errors
def convert(
    source: Annotated[str, typer.Argument(help="timm/NAME, torchvision/NAME, a model folder or a weights file.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The new model folder.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="What may be left of macs, params, latency; or max_drop=1.")
    ] = None,
    by: Annotated[Cost | None, typer.Option(help="The cost that max_drop makes smallest; macs by default.")] = None,
    data: Annotated[str | None, typer.Option(help="Recipe or folder whose val split max_drop is scored on.")] = None,
    runtime: Annotated[Runtime, typer.Option(help="What a budget's measurements run in.")] = Runtime.EAGER,
    rank: Annotated[str | None, typer.Option(help="Depthwise kernels of each channel, or 'full'.")] = None,
    method: MethodName = AUTO,
    order: OrderName = None,
    structures: StructureNames = None,
    form: Annotated[
        str, typer.Option(metavar="|".join([AUTO, *Form]), help="How channels are repeated; auto is measured.")
    ] = AUTO,
    calibrate: Annotated[str | None, typer.Option(help="Recipe or folder of images to fit weights to.")] = None,
    calibration_images: Annotated[int, typer.Option(min=1, help="How many of them.")] = 512,
    include: Include = None,
    exclude: Exclude = None,
    model: ModelOfFile = None,
    image_size: ImageSize = None,
    only_faster: Annotated[bool, typer.Option("--only-faster", help="Keep dense what is no faster.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of random weights and of the draw of images.")] = 0,
    device: Device = "auto",
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    progress: Progress = None,
) -> None:
    """Convert a checkpoint to depthwise-separable convolutions; no training."""
    if out is None and not dry_run:
        raise RecipeError("--out: a folder for the converted model is needed, or --dry-run to plan only.")
    with shown_progress(progress, None) as report:
        from dsft.commands import convert as command
        from dsft.conversion import Request
        from dsft.conversion.request import read_setting, read_structures

        request = Request(
            budget=_budget(budget, by, runtime),
            rank=_rank(rank),
            method=read_setting("--method", method, Method),
            structures=read_structures(structures, order),
            form=read_setting("--form", form, Form),
            include=include or ["*"],
            exclude=exclude or [],
            only_faster=only_faster,
            seed=seed,
        )
        result = command.run(
            source,
            None if dry_run else out,
            request,
            data=data,
            calibrate=calibrate,
            calibration_images=calibration_images,
            model=model,
            image_size=image_size,
            device=device,
            overwrite=overwrite,
            report=report,
        )
    from dsft.console import circumstances, costs_table, parameters_line, plan_table, print_json, print_result

    if as_json:
        print_json(result.to_dict())
        return
    results: list[RenderableType] = [plan_table(result.plan)]
    if result.costs is None:
        results.append(parameters_line(result.plan))
    else:
        folder = f"model folder: {result.folder}"
        results += [costs_table(result.costs), circumstances(result.costs.measured_on), folder]
    print_result(*results)


@app.command()
@reporting_errors
def evaluate(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL", help="Model folders, or folders of runs.")],
    data: Annotated[str | None, typer.Option(help="A recipe or a folder; else the data that the model names.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Change of the recipe, key=value.")] = None,
    split: Annotated[SplitName, typer.Option(help="The split to score.")] = SplitName.TEST,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for metrics, tables and pictures.")] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="Print the scores of every class.")] = False,
    with_temperature: Annotated[
        bool, typer.Option("--fit-temperature", help="Fit a temperature on val, and score the probabilities with it.")
    ] = False,
    min_top1: Annotated[
        float | None,
        typer.Option("--min-top1", min=0, max=100, help="Leave with exit code 1 where top-1 in percent is below."),
    ] = None,
    min_map: Annotated[
        float | None,
        typer.Option("--min-map", min=0, max=1, help="The same for the mAP of models of several labels, 0 to 1."),
    ] = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
    progress: Progress = None,
) -> None:
    """Score models on held-out data, side by side, with what they cost."""
    least = {name: value for name, value in (("top1", min_top1), ("map", min_map)) if value is not None}
    with shown_progress(progress, None) as report:
        from dsft.commands import evaluate as command

        result = command.run(
            models,
            data=data,
            overrides=overrides or [],
            split=split,
            with_temperature=with_temperature,
            required_scores=tuple(least),
            out=out,
            device=device,
            overwrite=overwrite,
            report=report,
        )
    _show_evaluation(result, as_json, with_classes=per_class or len(models) == 1)
    for name, minimum in least.items():
        result.require_score(name, minimum)


@app.command()
@reporting_errors
def report(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a finished run, or of evaluate --out.")],
) -> None:
    """Make the page of a run or of an evaluation again, from its own files."""
    from dsft.commands import report as command
    from dsft.console import print_result

    print_result(str(command.run(folder)))


def _show_evaluation(result: EvaluateResult, as_json: bool, with_classes: bool) -> None:
    from dsft.console import (
        ModelRow,
        calibration_table,
        differences_table,
        footprint_circumstances,
        metrics_table,
        per_class_table,
        print_json,
        print_result,
        size_table,
        speed_table,
    )

    if as_json:
        print_json(result.to_dict())
        return
    scores = [(row.model, row.metrics) for row in result.models]
    differences = [(row.model, row.difference) for row in result.models if row.difference is not None]
    costs = [ModelRow(row.model, row.footprint, row.file_bytes) for row in result.models]
    print_result(
        *(per_class_table(metrics) for _, metrics in scores if with_classes),
        metrics_table(scores),
        *([differences_table(result.models[0].model, differences)] if differences else []),
        calibration_table(scores),
        size_table(costs),
        speed_table(costs),
        footprint_circumstances(result.measured_on, result.models[0].footprint),
    )


def _budget(budget: str | None, by: Cost | None, runtime: Runtime) -> dict[str, Any] | None:
    """Read ``macs=0.4``, or ``max_drop=1`` and the cost that it goes by."""
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
    rest = {} if by is None else {"by": by}
    return {name: float(number), "runtime": runtime, **rest}


def _rank(rank: str | None) -> int | Literal["full"] | None:
    """Read a whole number, or ``full``."""
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
