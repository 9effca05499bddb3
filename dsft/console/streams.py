"""The consoles of the standard streams."""

from __future__ import annotations

import sys
from io import TextIOWrapper

from rich.console import Console

_UNLIMITED = 10_000  # columns


def result_console() -> Console:
    """Return the console of standard output, which never breaks lines in a file or a pipe."""
    if isinstance(sys.stdout, TextIOWrapper):
        # A class name that the encoding lacks must not lose the results of a long run.
        sys.stdout.reconfigure(errors="backslashreplace")
    console = Console(highlight=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, emoji=False, width=_UNLIMITED)


def plain_console() -> Console:
    """Return a console of standard error without control codes and line breaks."""
    return Console(stderr=True, highlight=False, emoji=False, color_system=None, force_terminal=False, soft_wrap=True)


def live_console() -> Console:
    """Return a console of standard error that redraws lines as on a terminal."""
    return Console(stderr=True, highlight=False, emoji=False, force_terminal=True)


def can_draw() -> bool:
    """Return whether standard error is a terminal on which lines can be redrawn.

    ``FORCE_COLOR`` is ignored: it would fill a log file with control codes.
    """
    return sys.stderr is not None and sys.stderr.isatty() and not Console(stderr=True).is_dumb_terminal
