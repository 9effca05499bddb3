"""The choice of how progress is displayed."""

from __future__ import annotations

import contextlib

from rich.console import Console

from dsft.choices import ProgressMode
from dsft.console.live import LiveProgress
from dsft.console.notebook import notebook_progress
from dsft.console.plain import plain_progress
from dsft.console.streams import can_draw
from dsft.progress import Report, ignore


def show_progress(mode: ProgressMode = ProgressMode.AUTO) -> contextlib.AbstractContextManager[Report]:
    """Return a context whose value displays progress on standard error until it ends.

    Args:
        mode: ``rich`` draws live, ``plain`` prints lines, ``off`` displays nothing; ``auto`` draws on a terminal and
            prints lines anywhere else.
    """
    if mode is ProgressMode.OFF:
        return contextlib.nullcontext(ignore)
    if mode is ProgressMode.RICH or (mode is ProgressMode.AUTO and can_draw()):
        return LiveProgress()
    return contextlib.nullcontext(plain_progress())


def progress_for_python(console: Console | None = None) -> Report:
    """Return a report for calls from Python: live in a notebook and on a terminal, else printed as lines.

    Args:
        console: Where to display; None is the output of the notebook cell, or standard error.
    """
    chosen = console or Console(stderr=True, highlight=False, emoji=False)
    if chosen.is_jupyter:
        return notebook_progress()
    if chosen.is_terminal and not chosen.is_dumb_terminal:
        return LiveProgress(chosen)
    return plain_progress(console)
