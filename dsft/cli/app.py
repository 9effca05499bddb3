"""The application that the commands register with."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dsft.cli.session import require_one_process, set_debug

ORDER = (
    *("train", "finetune", "convert", "evaluate", "report"),
    *("inspect", "sweep", "lr-find"),
    *("predict", "export", "benchmark"),
    *("data", "models", "recipes", "env"),
)
"""The commands as --help lists them: the main jobs, what helps to decide, what uses the result, what looks around."""

SHARED = ("train", "finetune")
"""The commands that several processes do together."""


class _InOrder(TyperGroup):
    """Lists its commands in an order of its own; those that it does not know come last."""

    def list_commands(self, ctx: Any) -> list[str]:
        known = super().list_commands(ctx)
        return sorted(known, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


app = typer.Typer(
    cls=_InOrder,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Fine-tune pretrained CNNs as depthwise-separable networks that keep their weights.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        import importlib.metadata

        from dsft.console import print_result

        print_result(importlib.metadata.version("dsft"))
        raise typer.Exit


# Eager, so that it works where no command follows.
Version = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and leave.")
]


@app.callback()
def _main(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Version = False,  # noqa: ARG001 (its callback does it)
) -> None:
    set_debug(debug)
    if context.invoked_subcommand not in SHARED:
        require_one_process(context.invoked_subcommand or "")
