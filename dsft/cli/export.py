"""``dsft export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dsft.choices import ExportFormat, SplitName
from dsft.cli.app import app
from dsft.cli.options import Json, Overwrite, Progress
from dsft.cli.session import reporting_errors, shown_progress
from dsft.errors import RecipeError

_ENDINGS = {
    ".onnx": ExportFormat.ONNX,
    ".pt2": ExportFormat.TORCH_EXPORT,
    ".safetensors": ExportFormat.SAFETENSORS,
}


@app.command()
@reporting_errors
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder, or the folder of a run.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file; a JSON file beside it says how to feed it.")],
    to: Annotated[ExportFormat | None, typer.Option("--to", help="What it becomes; else by the ending.")] = None,
    data: Annotated[str | None, typer.Option(help="A recipe or a folder; else the data that the model names.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Change of the recipe, key=value.")] = None,
    split: Annotated[SplitName, typer.Option(help="The split that the file is checked with.")] = SplitName.TEST,
    images: Annotated[int, typer.Option("--images", min=1, help="How many of its images.")] = 256,
    int8: Annotated[bool, typer.Option("--int8", help="Quantise the ONNX file to 8 bits, and score it.")] = False,
    calibration: Annotated[
        int, typer.Option("--calibration", min=1, help="Training images that find the ranges for --int8.")
    ] = 256,
    overwrite: Overwrite = False,
    as_json: Json = False,
    progress: Progress = None,
) -> None:
    """Write a model as ONNX, torch.export or plain weights; kept only if it answers as the model does."""
    form = to or _ENDINGS.get(out.suffix.lower())
    if form is None:
        raise RecipeError(f"--out {str(out)!r}: it ends in {', '.join(_ENDINGS)}, or --to says what it becomes.")
    with shown_progress(progress, None) as report:
        from dsft.commands import export as command

        result = command.run(
            model,
            out,
            form,
            data=data,
            overrides=overrides or [],
            split=split,
            images=images,
            int8=int8,
            calibration=calibration,
            overwrite=overwrite,
            report=report,
        )
    from dsft.console import int8_sentence, parity_sentence, print_json, print_result

    if as_json:
        print_json(result.to_dict())
        return
    print_result(f"file: {result.path} ({result.form}, {result.bytes / 1e6:.2f} MB), described in {result.description}")
    if form is not ExportFormat.SAFETENSORS:
        print_result(f"batch normalisations folded: {result.norms_folded}")
    layout = result.layout
    print_result(parity_sentence(result.parity, layout.answer))
    if result.int8 is not None:
        print_result(int8_sentence(result.int8, layout.answer, layout.main))
