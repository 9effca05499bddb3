"""``dsft benchmark``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dsft.choices import Dtype, Runtime
from dsft.cli.app import app
from dsft.cli.options import BuilderOption, Device, ImageSize, Json, Progress, require_finite, split_source
from dsft.cli.session import reporting_errors, shown_progress
from dsft.cli.words import read_words
from dsft.errors import RecipeError

if TYPE_CHECKING:
    from dsft.commands.benchmark import BenchmarkResult


@app.command()
@reporting_errors
def benchmark(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A model folder, or timm/NAME or torchvision/NAME (random weights); optional with --builder.",
        ),
    ] = None,
    against: Annotated[str | None, typer.Option("--against", help="Reference network of the ratios.")] = None,
    batches: Annotated[str, typer.Option("--batch-size", "-b", help="Inputs per batch; several as 1,8.")] = "1",
    dtypes: Annotated[
        str, typer.Option("--dtype", help="float32, bfloat16 or float16; several as float32,bfloat16.")
    ] = "float32",
    runtimes: Annotated[
        str, typer.Option("--runtime", help=f"{', '.join(Runtime)}; several as eager,compiled.")
    ] = "eager",
    layers: Annotated[
        bool, typer.Option("--layers", help="Time every convolution and linear layer alone as well.")
    ] = False,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads per operator.")] = 1,
    seconds: Annotated[
        float,
        typer.Option("--seconds", min=0.1, callback=require_finite, help="Approximate length of each measurement."),
    ] = 3.0,
    builder: BuilderOption = None,
    image_size: ImageSize = None,
    device: Device = "auto",
    as_json: Json = False,
    progress: Progress = None,
) -> None:
    """Time one network, or two interleaved: medians, quartiles and ratios by runtime, dtype and batch size."""
    chosen = (
        read_words("--runtime", runtimes, Runtime),
        read_words("--dtype", dtypes, Dtype),
        _counts("--batch-size", batches),
    )
    name, _ = split_source(model, None, builder)
    with shown_progress(progress, None) as report:
        from dsft.assembly import Source
        from dsft.commands import benchmark as command

        result = command.run(
            Source(name, builder=builder, image_size=image_size),
            command.Settings(*chosen, threads=threads, seconds=seconds),
            against=Source(against, builder=builder, image_size=image_size) if against is not None else None,
            layers=layers,
            device=device,
            report=report,
        )
    _show_timings(result, as_json, is_pair=against is not None)


def _show_timings(result: BenchmarkResult, as_json: bool, *, is_pair: bool) -> None:
    from dsft.console import layer_timing_table, print_json, print_result, timing_table

    if as_json:
        print_json(result.to_dict())
        return
    timings = [(row.model, row.runtime, row.dtype, row.batch, row.timing) for row in result.rows]
    tables = [timing_table(timings, result.kind)]
    if result.layers:
        rows = [(row.name, row.against, row.model) for row in result.layers]
        tables.append(layer_timing_table(rows, is_pair=is_pair))
    size = " x ".join(map(str, result.image_size))
    print_result(
        *tables,
        f"{result.device}, threads: {result.threads}, inputs of {size}, {result.layout}; medians of "
        f"interleaved passes, at least {min(row.timing.rounds for row in result.rows)} rounds.",
    )


def _counts(option: str, text: str) -> tuple[int, ...]:
    found = [part.strip() for part in text.split(",")]
    if wrong := [part for part in found if not part.isdecimal() or int(part) < 1]:
        raise RecipeError(f"{option}: expected whole numbers of at least 1, such as 1,8, found {wrong[0]!r}.")
    return tuple(dict.fromkeys(map(int, found)))
