"""Where the output goes, and what can be shown there."""

from __future__ import annotations

import sys
from io import TextIOWrapper

from rich.console import Console

_UNLIMITED = 10_000  # columns


def result_console() -> Console:
    """Return the console of standard output; in a file or a pipe its lines are as long as they need be."""
    if isinstance(sys.stdout, TextIOWrapper):
        # A class name that the encoding lacks must not cost the results of a long run.
        sys.stdout.reconfigure(errors="backslashreplace")
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_UNLIMITED)


def plain_console() -> Console:
    """Return a console of standard error that writes text alone, with no control codes and no line breaks."""
    return Console(stderr=True, highlight=False, color_system=None, force_terminal=False, soft_wrap=True)


def live_console() -> Console:
    """Return a console of standard error that draws as on a terminal."""
    return Console(stderr=True, highlight=False, force_terminal=True)


def can_draw() -> bool:
    """Return whether standard error is a terminal on which lines can be redrawn.

    ``FORCE_COLOR`` does not count: a log file would fill with control codes.
    """
    return sys.stderr is not None and sys.stderr.isatty() and not Console(stderr=True).is_dumb_terminal
