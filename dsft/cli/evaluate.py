"""``dsft evaluate`` and ``dsft report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dsft.choices import SplitName
from dsft.cli.app import app
from dsft.cli.options import (
    BuilderOption,
    Classes,
    Data,
    Device,
    Json,
    Overwrite,
    Progress,
    WindowOverlap,
    named_data,
    require_finite,
    split_overrides,
)
from dsft.cli.session import reporting_errors, shown_progress
from dsft.errors import RecipeError

if TYPE_CHECKING:
    from dsft.commands.evaluate_result import EvaluateResult


@app.command()
@reporting_errors
def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="Model or run folders, or exported files; data.key=value among them changes the data.",
        ),
    ],
    data: Data = None,
    split: Annotated[SplitName, typer.Option(help="The split to score.")] = SplitName.TEST,
    builder: BuilderOption = None,
    classes: Classes = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for metrics, tables and plots.")] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="Print the scores of every class.")] = False,
    with_temperature: Annotated[
        bool, typer.Option("--fit-temperature", help="Fit a temperature on val, and score the probabilities with it.")
    ] = False,
    timed: Annotated[
        bool | None,
        typer.Option("--time/--no-time", help="Measure times; by default only to compare several models."),
    ] = None,
    min_top1: Annotated[
        float | None,
        typer.Option(
            "--min-top1",
            min=0,
            max=100,
            callback=require_finite,
            help="Exit with code 1 if top-1, in percent, is below.",
        ),
    ] = None,
    min_map: Annotated[
        float | None,
        typer.Option(
            "--min-map", min=0, max=1, callback=require_finite, help="Exit with code 1 if the mAP, 0 to 1, is below."
        ),
    ] = None,
    window_overlap: WindowOverlap = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
    progress: Progress = None,
) -> None:
    """Score models on held-out data, side by side, with their costs."""
    least = {name: value for name, value in (("top1", min_top1), ("map", min_map)) if value is not None}
    folders, overrides = split_overrides(models)
    if not folders:
        raise RecipeError(f"MODEL: a model or run folder is needed, found only overrides: {' '.join(overrides)}.")
    with shown_progress(progress, None) as report:
        from dsft.assembly import Source
        from dsft.commands import evaluate as command

        result = command.run(
            [Source(folder, builder=builder, classes=classes) for folder in folders],
            data=named_data(data, overrides),
            scoring=command.Scoring(split, with_temperature, tuple(least), timed, window_overlap),
            out=out,
            device=device,
            overwrite=overwrite,
            report=report,
        )
    _show_evaluation(result, as_json, with_classes=per_class or len(folders) == 1)
    for name, minimum in least.items():
        result.require_score(name, minimum)


@app.command()
@reporting_errors
def report(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a finished run, or of evaluate --out.")],
) -> None:
    """Recreate the page of a run or of an evaluation from its files."""
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
    from dsft.tasks import ProbabilityMetrics

    if as_json:
        print_json(result.to_dict())
        return
    scores = [(row.model, row.metrics) for row in result.models]
    differences = [(row.model, row.difference) for row in result.models if row.difference is not None]
    costs = [ModelRow(row.model, row.footprint, row.file_bytes) for row in result.models]
    probable = [(model, metrics) for model, metrics in scores if isinstance(metrics, ProbabilityMetrics)]
    print_result(
        *(per_class_table(metrics, result.kind) for _, metrics in scores if with_classes and metrics.per_class),
        metrics_table(scores, [row.untrained for row in result.models], kind=result.kind),
        *([differences_table(result.models[0].model, differences, result.kind)] if differences else []),
        *([calibration_table(probable)] if probable else []),
        size_table(costs),
        *([speed_table(costs, result.kind)] if costs[0].footprint.latency_ms is not None else []),
        footprint_circumstances(result.measured_on, result.models[0].footprint, result.kind),
    )
