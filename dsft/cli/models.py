"""``dsft models``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dsft.cli.app import app
from dsft.cli.options import BuilderOption, Json
from dsft.cli.session import reporting_errors

models_app = typer.Typer(no_args_is_help=True, help="List and show networks; push model folders to the hub.")
app.add_typer(models_app, name="models")


@models_app.command("ls")
@reporting_errors
def models_ls(
    pattern: Annotated[str, typer.Argument(help="Part of a name, or a pattern such as 'resnet*'.")] = "*",
    published: Annotated[
        bool, typer.Option("--pretrained", help="Only networks with published weights, with their tags.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the networks of timm and torchvision."""
    from dsft.commands import models
    from dsft.console import print_json, print_text

    found = models.listing(pattern, published=published)
    if as_json:
        print_json(list(found))
    else:
        print_text("".join(f"{name}\n" for name in found))


@models_app.command("show")
@reporting_errors
def models_show(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="timm/NAME, torchvision/NAME, a model folder or hf/OWNER/NAME.")
    ],
    builder: BuilderOption = None,
    as_json: Json = False,
) -> None:
    """Show what is known about a network: size, input, classes, conversion, training."""
    from dsft.commands import models
    from dsft.console import facts_table, print_json, print_result

    facts = models.show(source, builder)
    if as_json:
        print_json(facts.to_dict())
    else:
        print_result(facts_table(facts.to_dict()))


@models_app.command("push")
@reporting_errors
def models_push(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model or run folder.")],
    repository: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="The repository; created if it does not exist.")
    ],
    private: Annotated[bool, typer.Option("--private", help="Create the repository as private.")] = False,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Commit message.")] = None,
) -> None:
    """Push a model folder to the Hugging Face hub, authenticated by HF_TOKEN or hf auth login."""
    from dsft.commands import models
    from dsft.console import print_result

    address = models.push(model, repository, private=private, message=message)
    print_result(f"pushed: {address}", f"load it as hf/{repository}")
