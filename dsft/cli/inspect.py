"""``dsft inspect``."""

from __future__ import annotations

from dsft.cli.app import app
from dsft.cli.options import BuilderOption, ImageSize, Json, ModelOfFile, Progress, SourceArgument, split_source
from dsft.cli.session import reporting_errors, shown_progress


@app.command()
@reporting_errors
def inspect(
    source: SourceArgument = None,
    model: ModelOfFile = None,
    builder: BuilderOption = None,
    image_size: ImageSize = None,
    as_json: Json = False,
    progress: Progress = None,
) -> None:
    """List a network's layers: shapes, costs, and what a conversion could save; needs no weights."""
    name, _ = split_source(source, None, builder)
    with shown_progress(progress, None) as report:
        from dsft.assembly import Source
        from dsft.commands import inspect as command

        result = command.run(Source(name, model=model, builder=builder, image_size=image_size), report)
    from dsft.console import inspection_table, print_json, print_result

    if as_json:
        print_json(result.to_dict())
        return
    size = " x ".join(map(str, result.image_size))
    print_result(inspection_table(result.inspection, f"{result.model}, one input of {size}"))
