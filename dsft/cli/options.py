"""Arguments and options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dsft.choices import AUTO, Method, ProgressMode, Structure
from dsft.errors import RecipeError

if TYPE_CHECKING:
    from dsft.assembly.named_data import NamedData


def require_finite(value: float | None) -> float | None:
    """Return the value of an option; NaN passes the ranges of typer with some releases of click.

    Raises:
        typer.BadParameter: It is NaN or infinite.
    """
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"a finite number is needed, found {value!r}.")
    return value


RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or the name of a shipped recipe.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changes: section.key=value sets, ~section.key removes."),
]
DataOverrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changes of the data: data.key=value sets, ~data.key removes."),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="RECIPE|FOLDER",
        help="A recipe, a run, or a folder of images or other inputs; else the model's own data.",
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        "--classes",
        metavar="FILE|data",
        help="Class names of weights without any: a file with one per line, or those of the data.",
    ),
]
BuilderOption = Annotated[
    str | None,
    typer.Option(
        "--builder",
        metavar="FILE:FUNCTION",
        help="Python file of your own and a function in it that returns the network, such as net.py:make.",
    ),
]
ModelOfFile = Annotated[str | None, typer.Option("--model", help="timm/NAME or torchvision/NAME of a weights file.")]
SourceArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="SOURCE",
        help="timm/NAME, torchvision/NAME, a model or run folder, hf/OWNER/NAME or a weights file; optional with "
        "--builder.",
    ),
]
SeedOption = Annotated[
    int,
    typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of random weights and of the draw of calibration inputs."),
]
ImageSize = Annotated[int | None, typer.Option("--image-size", min=8, help="Side of the images in pixels.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier output of this command.")]
Resume = Annotated[bool, typer.Option("--resume", help="Resume the run in the output folder from its last checkpoint.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Build and check everything, write nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Progress = Annotated[
    ProgressMode | None, typer.Option("--progress", help="How progress is shown.", show_default="auto")
]
WindowOverlap = Annotated[
    float | None,
    typer.Option(
        "--window-overlap",
        min=0,
        max=0.99,
        callback=require_finite,
        help="Segmentation, restoration: run on images of any size in windows of the model's input that overlap by "
        "this fraction; by default as the model records.",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]

MethodName = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="|".join([AUTO, *Method]),
        help="How the weights are derived.",
        autocompletion=lambda: [AUTO, *Method],
    ),
]
StructureNames = Annotated[
    str | None,
    typer.Option(
        "--structures",
        metavar="NAMES",
        help=f"What layers may be replaced by, some of {','.join(Structure)}, or auto (the default) for the first "
        "three in sizes that are expected to be faster.",
    ),
]
OrderName = Annotated[
    str | None, typer.Option("--order", metavar="dw_pw|pw_dw", help="Allow only this one of dw_pw and pw_dw.")
]
MaxDropOption = Annotated[
    float | None,
    typer.Option(
        "--max-drop",
        metavar="POINTS",
        min=0.0,
        callback=require_finite,
        help="Largest loss of the score by int8 on the calibration inputs: points or dB. The layers that change the "
        "outputs most stay float32 until it is met.",
    ),
]
Include = Annotated[list[str] | None, typer.Option("--include", help="Pattern of layers to convert; repeatable.")]
Exclude = Annotated[list[str] | None, typer.Option("--exclude", help="Pattern of layers to keep; repeatable.")]


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate overrides from names: ``key=value`` and ``~key`` are overrides unless a file of that name exists."""
    overrides = [each for each in arguments if _is_override(each) and not Path(each).exists()]
    return [each for each in arguments if each not in overrides], overrides


def split_source(
    source: str | None, overrides: Sequence[str] | None, builder: str | None
) -> tuple[str | None, list[str]]:
    """Separate the SOURCE of a command from its overrides; with ``--builder`` it may be left out.

    Raises:
        RecipeError: There is no SOURCE, or more than one.
    """
    names, changes = split_overrides([each for each in (source, *(overrides or ())) if each is not None])
    if len(names) > 1:
        raise RecipeError(f"SOURCE: expected one network, and after it key=value; found {names[1]!r}.")
    if not names and builder is None:
        raise RecipeError(
            "SOURCE: expected timm/NAME, torchvision/NAME, a model folder or a weights file, or for a network of your "
            "own --builder FILE:FUNCTION."
        )
    return (names[0] if names else None), changes


def _is_override(argument: str) -> bool:
    # A path in the home folder begins with ~ too.
    return "=" in argument or (argument.startswith("~") and not argument.startswith(("~/", "~\\")))


def named_data(data: str | None, overrides: Sequence[str] | None) -> NamedData:
    """Return what the command line says about the data."""
    from dsft.assembly.named_data import NamedData

    return NamedData(data, tuple(overrides or ()))
