"""The Typer application in which every command is registered."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dsft.cli.session import require_one_process, set_debug

ORDER = (
    *("train", "finetune", "convert", "evaluate", "report"),
    *("inspect", "sweep", "lr-find"),
    *("predict", "export", "benchmark", "deploy"),
    *("data", "models", "recipes", "env"),
)
"""The commands in the order of --help: main jobs, decision aids, uses of the result, information."""

DISTRIBUTED = ("train", "finetune")
"""The commands that several processes can run together."""


class _MainGroup(TyperGroup):
    """Lists the commands in the order of ``ORDER``, and flags without the type ``<bool>``."""

    def list_commands(self, ctx: Any) -> list[str]:
        known = super().list_commands(ctx)
        return sorted(known, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_flag_types(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        for each in (command, *getattr(command, "commands", {}).values()):
            if each is not None:
                _without_flag_types(each.get_params(ctx))
        return command


def _without_flag_types(parameters: list[Any]) -> list[Any]:
    """Have help show nothing where an option takes no value; recent versions of Typer show ``<bool>``."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    return parameters


app = typer.Typer(
    cls=_MainGroup,
    no_args_is_help=True,
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


# Eager, so that it works without a command.
Version = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
]


@app.callback()
def _main(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of errors.")] = False,
    version: Version = False,  # noqa: ARG001 (its callback does it)
) -> None:
    set_debug(debug)
    if context.invoked_subcommand not in DISTRIBUTED:
        require_one_process(context.invoked_subcommand or "")
