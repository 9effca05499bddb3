"""The arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from dsft.choices import AUTO, Method, ProgressMode, Structure

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or the name of a shipped recipe.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changes: section.key=value sets, ~section.key removes."),
]
SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="timm/NAME, torchvision/NAME, a model folder, hf/OWNER/NAME or a weights file."
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
ImageSize = Annotated[int | None, typer.Option("--image-size", min=8, help="Side of the images in pixels.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier output of this command.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder, from its last state.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Build and check everything, write nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Progress = Annotated[
    ProgressMode | None, typer.Option("--progress", help="How progress is shown.", show_default="auto")
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
        help=f"What layers may be replaced by, some of {','.join(Structure)}; by default the first two.",
    ),
]
OrderName = Annotated[
    str | None, typer.Option("--order", metavar="dw_pw|pw_dw", help="Allow only this one of dw_pw and pw_dw.")
]
Include = Annotated[list[str] | None, typer.Option("--include", help="Pattern of layers to convert; repeatable.")]
Exclude = Annotated[list[str] | None, typer.Option("--exclude", help="Pattern of layers to keep; repeatable.")]
