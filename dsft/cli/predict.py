"""``dsft predict``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dsft.choices import BadImages, PredictionFormat
from dsft.cli.app import app
from dsft.cli.options import BuilderOption, Device, Overwrite, Progress, WindowOverlap, require_finite
from dsft.cli.session import reporting_errors, shown_progress
from dsft.errors import RecipeError

if TYPE_CHECKING:
    from dsft.commands.predict import PredictResult


@app.command()
@reporting_errors
def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model or run folder, or an exported file.")],
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATHS", help="Files, folders or patterns; - reads paths from standard input."),
    ],
    top_k: Annotated[
        int | None, typer.Option("--top-k", min=1, help="Number of classes per input; 1 by default.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            min=0,
            max=1,
            callback=require_finite,
            help="Probability above which a multi_label model names a label, 0.5; least score of a box, 0.3.",
        ),
    ] = None,
    form: Annotated[
        PredictionFormat | None, typer.Option("--format", help="Output format; by default by the ending of --out.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Output file instead of standard output.")] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            "--pictures",
            help="Folder for masks (segmentation; of signals .npy files, of NIfTI files NIfTI) or images "
            "(restoration), which need it; or for the images with their boxes (detection).",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", min=1, help="Inputs in a batch.")] = 64,
    workers: Annotated[str, typer.Option("--workers", "-j", help="Processes that read files, or auto.")] = "auto",
    bad_images: Annotated[
        BadImages,
        typer.Option(
            "--bad-images", "--bad-inputs", help="skip: leave out with a warning, and exit with 1; error: stop."
        ),
    ] = BadImages.SKIP,
    window_overlap: WindowOverlap = None,
    builder: BuilderOption = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    progress: Progress = None,
) -> None:
    """Predict classes or boxes, or write masks or restored images, of inputs preprocessed as the model records."""
    form = _format(form, out)
    if out is not None:
        from dsft.storage import require_free_file

        require_free_file(out, overwrite=overwrite)
    asked, readers = _paths(paths), _workers(workers)
    with shown_progress(progress, None) as report:
        from dsft.assembly import Source
        from dsft.commands import predict as command

        result = command.run(
            Source(model, builder=builder),
            asked,
            command.PredictSettings(
                top_k, threshold, batch_size, readers, bad_images, pictures, overwrite, window_overlap
            ),
            device=device,
            report=report,
        )
    _show(result, form, out)
    if result.unreadable:
        raise typer.Exit(1)


_BY_ENDING = {".csv": PredictionFormat.CSV, ".jsonl": PredictionFormat.JSONL, ".json": PredictionFormat.COCO}


def _format(form: PredictionFormat | None, out: Path | None) -> PredictionFormat:
    if out is None:
        return form or PredictionFormat.TABLE
    form = form or _BY_ENDING.get(out.suffix.lower())
    if form is None or form not in _BY_ENDING.values():
        raise RecipeError(
            f"--out {str(out)!r}: expected a file ending in .csv, .jsonl or .json (boxes as a COCO data set), or "
            "--format csv, jsonl or coco."
        )
    return form


def _show(result: PredictResult, form: PredictionFormat, out: Path | None) -> None:
    from dsft.console import predictions_table, print_result, print_text
    from dsft.storage import write_text

    if form is PredictionFormat.TABLE:
        if result.predictions:
            print_result(predictions_table(result.predictions, result.kind))
        return
    writers = {
        PredictionFormat.CSV: result.to_csv,
        PredictionFormat.JSONL: result.to_jsonl,
        PredictionFormat.COCO: result.to_coco,
    }
    text = writers[form]()
    if out is None:
        print_text(text)
    else:
        write_text(out, text)


def _paths(paths: list[str]) -> list[str]:
    """Replace ``-`` with the lines of standard input."""
    lines = [line for line in sys.stdin.read().splitlines() if line.strip()] if "-" in paths else []
    asked = [each for path in paths for each in (lines if path == "-" else [path])]
    if not asked:
        raise RecipeError("PATHS: expected one path per line on standard input, found none.")
    return asked


def _workers(workers: str) -> int | Literal["auto"]:
    if workers == "auto":
        return "auto"
    if not workers.isdecimal():
        raise RecipeError(f"--workers: expected a whole number, or auto, found {workers!r}.")
    return int(workers)
