"""What goes around every command: errors as one message, progress, the log of a run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec

import typer

from dsft.choices import ProgressMode, TrackerName
from dsft.errors import DsftError

if TYPE_CHECKING:
    from dsft.progress import Report
    from dsft.recipe import Recipe

P = ParamSpec("P")
_state = {"debug": False}


def set_debug(debug: bool) -> None:
    """Let errors pass with their traceback, or not."""
    _state["debug"] = debug


def reporting_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Have a command show an error as one message and leave with its exit code; ``--debug`` keeps the traceback."""

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
            exit_code = _tell(error)
        if exit_code:
            # Out here the traceback is gone, and with it what it kept: the processes that read images.
            raise typer.Exit(exit_code)

    return run


def _tell(error: Exception) -> int:
    """Print an error and return its exit code."""
    from dsft.console import print_error

    if type(error).__name__ == "OutOfMemoryError":  # torch's; its class would have to be loaded to be named
        error = DsftError(f"the device ran out of memory: {error} Lower data.batch_size or data.image_size.")
    elif isinstance(error, OSError):
        error = DsftError(f"the system refused: {error}")
    elif not isinstance(error, DsftError):
        error = DsftError(
            f"unforeseen {type(error).__name__}: {error}. This is a fault of dsft: please report it, with what "
            "dsft --debug says when it is run again."
        )
    print_error(error)
    return error.exit_code


@contextmanager
def shown_progress(mode: ProgressMode | None, recipe: Recipe | None) -> Iterator[Report]:
    """Show progress as the flag says, else as the recipe says; a run's folder gets a log of it too.

    Where the recipe asks for them, trackers are told as well.
    """
    from dsft.console import show_progress, write_log

    chosen = mode or (recipe.log.progress if recipe is not None else ProgressMode.AUTO)
    with show_progress(chosen) as show, write_log() as log:

        def report(event: Any) -> None:
            show(event)
            log(event)

        if recipe is None or set(recipe.log.to) <= {TrackerName.JSONL}:
            yield report
            return
        from dsft.training import tracking

        with tracking(recipe.log.to, recipe.name, recipe.model_dump(mode="json"), report) as track:

            def report_everywhere(event: Any) -> None:
                report(event)
                track(event)

            yield report_everywhere
