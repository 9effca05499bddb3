"""The choice of how progress is shown."""

from __future__ import annotations

import contextlib

from dsft.choices import ProgressMode
from dsft.console.live import live_progress
from dsft.console.plain import plain_progress
from dsft.console.streams import can_draw
from dsft.progress import Report, ignore


def show_progress(mode: ProgressMode = ProgressMode.AUTO) -> contextlib.AbstractContextManager[Report]:
    """Return a context whose value shows progress on standard error until it ends.

    Args:
        mode: ``rich`` draws live, ``plain`` writes lines, ``off`` shows nothing; ``auto`` draws on a
            terminal and writes lines anywhere else.
    """
    if mode is ProgressMode.OFF:
        return contextlib.nullcontext(ignore)
    if mode is ProgressMode.RICH or (mode is ProgressMode.AUTO and can_draw()):
        return live_progress()
    return contextlib.nullcontext(plain_progress())
