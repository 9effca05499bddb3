"""``dsft sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dsft.choices import AUTO, Cost, Method
from dsft.cli.app import app
from dsft.cli.options import (
    BuilderOption,
    Classes,
    Data,
    DataOverrides,
    Device,
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
from dsft.number_format import plural

if TYPE_CHECKING:
    from dsft.commands.sweep import SweepResult


@app.command()
@reporting_errors
def sweep(
    source: SourceArgument = None,
    overrides: DataOverrides = None,
    *,
    budgets: Annotated[str, typer.Option("--budgets", help="Shares of the cost, such as 0.3,0.5,0.7.")],
    by: Annotated[Cost, typer.Option("--by", help="The cost that the budgets are shares of.")] = Cost.MACS,
    data: Data = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for sweep.json and sweep.png.")] = None,
    method: MethodName = AUTO,
    order: OrderName = None,
    structures: StructureNames = None,
    include: Include = None,
    exclude: Exclude = None,
    model: ModelOfFile = None,
    builder: BuilderOption = None,
    classes: Classes = None,
    image_size: ImageSize = None,
    seed: SeedOption = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
    progress: Progress = None,
) -> None:
    """Score a network on val at several budgets, before any training, to choose a budget from the curve."""
    name, changes = split_source(source, overrides, builder)
    shares = _shares(budgets)
    with shown_progress(progress, None) as report:
        from dsft.assembly import Source
        from dsft.commands import sweep as command
        from dsft.conversion import Budget, Request
        from dsft.conversion.request import read_structures
        from dsft.conversion.words import read_setting

        requests = [
            Request(
                budget=Budget(by, share),
                method=read_setting("--method", method, Method),
                structures=read_structures(structures, order),
                include=include or ["*"],
                exclude=exclude or [],
                seed=seed,
            )
            for share in shares
        ]
        result = command.run(
            Source(name, model=model, builder=builder, classes=classes, image_size=image_size),
            requests,
            data=named_data(data, changes),
            device=device,
            out=out,
            overwrite=overwrite,
            report=report,
        )
    _show_sweep(result, as_json)


def _show_sweep(result: SweepResult, as_json: bool) -> None:
    from dsft.console import circumstances, print_json, print_result, sweep_table

    if as_json:
        print_json(result.to_dict())
        return
    folder = [f"table and plot: {result.folder}"] if result.folder is not None else []
    first = result.rows[0].metrics
    main = first.layout.main
    rows = [(r.budget, r.converted, r.macs, r.params, r.latency_ms, main.value_in(r.metrics)) for r in result.rows]
    print_result(
        sweep_table(rows, f"{plural(first.count, result.kind)} of val", main),
        circumstances(result.measured_on),
        *folder,
    )


def _shares(text: str) -> list[float]:
    shares = []
    for part in text.split(","):
        try:
            shares.append(float(part))
        except ValueError:
            raise RecipeError(f"--budgets: expected shares such as 0.3,0.5,0.7, found {part.strip()!r}.") from None
    return list(dict.fromkeys(shares))
