"""``dsft export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dsft.choices import ExportFormat, SplitName
from dsft.cli.app import app
from dsft.cli.options import BuilderOption, Data, DataOverrides, Json, MaxDropOption, Overwrite, Progress, named_data
from dsft.cli.session import reporting_errors, shown_progress

if TYPE_CHECKING:
    from dsft.commands.export import ExportResult


@app.command()
@reporting_errors
def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model or run folder.")],
    overrides: DataOverrides = None,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file; a JSON file beside it describes its inputs.")],
    to: Annotated[
        ExportFormat | None, typer.Option("--to", help="Format of the file.", show_default="by its suffix")
    ] = None,
    data: Data = None,
    split: Annotated[SplitName, typer.Option(help="Split on which the file is compared with the model.")] = (
        SplitName.TEST
    ),
    images: Annotated[
        int, typer.Option("--images", "--inputs", min=1, help="Number of inputs for the comparison.")
    ] = 256,
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantize the file, .onnx, .xml or .pte, to int8, and score it.")
    ] = False,
    calibration: Annotated[
        int, typer.Option("--calibration", min=1, help="Number of training inputs that calibrate --int8.")
    ] = 256,
    max_drop: MaxDropOption = None,
    builder: BuilderOption = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    progress: Progress = None,
) -> None:
    """Export a model to a file of a runtime, and check that the file computes the same outputs there."""
    with shown_progress(progress, None) as report:
        from dsft.assembly import Source
        from dsft.commands import export as command
        from dsft.commands.check_inputs import CheckSettings

        check = CheckSettings(named_data(data, overrides), split, images, calibration)
        result = command.run(
            Source(model, builder=builder),
            out,
            command.ExportSettings(to, int8, max_drop, check, overwrite),
            report,
        )
    if as_json:
        from dsft.console import print_json

        print_json(result.to_dict())
    else:
        _show(result)


def _show(result: ExportResult) -> None:
    from dsft.console import int8_sentence, parity_sentence, print_result

    print_result(f"file: {result.path} ({result.form}, {result.bytes / 1e6:.2f} MB), described in {result.description}")
    if result.form is not ExportFormat.SAFETENSORS:
        print_result(f"batch norms folded: {result.norms_folded}")
    layout = result.layout
    print_result(parity_sentence(result.parity, layout.prediction))
    if result.int8 is not None:
        print_result(int8_sentence(result.int8, layout.prediction, layout.main))
