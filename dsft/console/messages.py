"""Results and errors."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Any

from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dsft.console.streams import can_draw, live_console, plain_console, result_console
from dsft.errors import DsftError, InterruptedRun


def print_result(*results: RenderableType) -> None:
    """Print tables and texts on standard output, separated by empty lines.

    If standard output is not a terminal, lines are never broken and have no trailing spaces.
    """
    console = result_console()
    if console.is_terminal:
        _lay_out(console, results)
        return
    with console.capture() as capture:
        _lay_out(console, results)
    console.file.write(re.sub(" +\n", "\n", capture.get()))


def _lay_out(console: Console, results: Sequence[RenderableType]) -> None:
    for number, result in enumerate(results):
        if isinstance(result, Table):
            # On a terminal that is too narrow rich would drop columns; this way the terminal wraps the lines.
            needed = sum((column.min_width or 0) + 2 for column in result.columns)
            console.width = max(console.width, needed)
        if number:
            console.print()
        console.print(result, markup=False)


def print_json(value: Any) -> None:
    """Print a JSON value on standard output, in ASCII, which every encoding contains.

    Raises:
        ValueError: ``value`` contains NaN or an infinity, which JSON does not have.
    """
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def print_text(text: str) -> None:
    """Print text for machines on standard output, unchanged."""
    if isinstance(sys.stdout, TextIOWrapper):
        # A class name that the encoding lacks must not lose the results of a long run.
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stdout.write(text)


def print_error(error: DsftError) -> None:
    """Print an error on standard error: in a panel on a terminal, as plain lines anywhere else."""
    is_stopped = isinstance(error, InterruptedRun)
    title, colour = ("stopped", "yellow") if is_stopped else ("error", "red")
    if can_draw():
        live_console().print(Panel(Text(str(error)), title=title, title_align="left", border_style=colour))
    else:
        plain_console().print(f"{title}: {error}", markup=False)
