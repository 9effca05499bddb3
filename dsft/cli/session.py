"""The frame of every command: errors as one message, progress, the log of a run, several processes."""

from __future__ import annotations

import functools
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, ParamSpec

import typer

from dsft.choices import ProgressMode
from dsft.distributed.launch import read_launch
from dsft.errors import DsftError, InputError, RecipeError, worker_killed

if TYPE_CHECKING:
    from dsft.distributed.processes import Processes
    from dsft.progress import Report
    from dsft.recipe import Recipe

P = ParamSpec("P")
_state = {"debug": False}
_GRACE_PERIOD_S = 5.0


def set_debug(debug: bool) -> None:
    """Choose whether errors are raised with their traceback."""
    _state["debug"] = debug


def reporting_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Make a command print an error as one message and exit with its exit code; ``--debug`` keeps the traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        exit_code = 0
        try:
            command(*args, **kwargs)
        except (typer.Exit, BrokenPipeError):
            raise
        except Exception as error:
            if _state["debug"]:
                raise
            exit_code = _print(error)
        if exit_code:
            # Outside of the handler the traceback is freed, and with it the data loaders' processes.
            raise typer.Exit(exit_code)

    return run


def _print(error: Exception) -> int:
    """Print an error and return its exit code."""
    from dsft.console import print_error

    error = worker_killed(error) or error
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
        error = DsftError(f"the device ran out of memory: {error} Lower the batch size or the size of the inputs.")
    elif isinstance(error, OSError):
        error = DsftError(f"the operating system reports: {error}")
    elif not isinstance(error, DsftError):
        error = DsftError(
            f"unexpected {type(error).__name__}: {error}. This is a bug in dsft. Please report it with the traceback "
            "that dsft --debug shows."
        )
    print_error(error)
    return error.exit_code


def require_one_process(command: str) -> None:
    """Exit with one message if a command that works in one process only was started in several."""
    try:
        launch = read_launch(os.environ)
    except InputError:
        return
    if launch.count == 1:
        return
    if launch.rank > 0:
        # torchrun ends all processes when one exits; process 0 must print its message first.
        time.sleep(_GRACE_PERIOD_S)
        raise typer.Exit(InputError.exit_code)
    error = InputError(
        f"dsft {command}: works in one process, found {launch.count}. Start it without torchrun or srun; only train "
        "and finetune work in several."
    )
    raise typer.Exit(_print(error))


@contextmanager
def joined_processes() -> Iterator[Processes | None]:
    """Join the process group of a run; yield None, without importing torch, for a single process.

    The first error in any process ends all of them with one message.
    """
    launch = read_launch(os.environ)
    if launch.count == 1:
        yield None
        return
    from dsft.distributed.processes import join_processes

    member = join_processes(launch)
    if launch.rank > 0:
        warnings.simplefilter("ignore")
    try:
        yield member.processes
    except Exception as error:
        # Before this process exits, since the launcher then ends the others.
        exit_code = _print(error) if member.claim_failure() else getattr(error, "exit_code", 1)
        member.leave(failed=True)
        if _state["debug"]:
            raise
        raise typer.Exit(exit_code) from None
    member.leave(failed=False)


def read_recipe(recipe: str, overrides: list[str] | None, builder: str | None) -> Recipe:
    """Load the recipe of a command; ``--builder`` replaces its network, or builds the one of its model folder."""
    from dsft.recipe import load_recipe

    overrides = overrides or []
    if builder is None:
        return load_recipe(recipe, overrides)
    chosen = f"model.builder={json.dumps(builder)}"
    try:
        return load_recipe(recipe, [*overrides, chosen])
    except RecipeError:
        # The recipe names another source, which the builder replaces; any other problem is reported now.
        other = ("model.source=python", "model.name=null", "model.path=null", "model.pretrained=false")
        return load_recipe(recipe, [*other, *overrides, chosen])


@contextmanager
def shown_progress(mode: ProgressMode | None, recipe: Recipe | None) -> Iterator[Report]:
    """Show progress as the option says, else as the recipe says; log it to the run's folder and to trackers."""
    from dsft.console import run_report, show_progress

    chosen = mode or (recipe.log.progress if recipe is not None else ProgressMode.AUTO)
    # Standard output is for results: what libraries and the user's own code print goes to standard error.
    with redirect_stdout(sys.stderr), show_progress(chosen) as show, run_report(show, recipe) as report:
        yield report


@contextmanager
def hidden_progress() -> Iterator[Report]:
    """Show nothing, in the processes of a run but the first; what other code prints goes to standard error."""
    from dsft.progress import ignore

    with redirect_stdout(sys.stderr):
        yield ignore
