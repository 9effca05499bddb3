"""Progress as lines: for log files, pipes and terminals that cannot redraw."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console

from dsft.console.epochs import EpochTable
from dsft.console.streams import plain_console
from dsft.console.transcript import Transcript
from dsft.progress import Advanced, Event, Report

_INTERVAL = 10.0  # seconds between two lines about running tasks


def plain_progress(console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> Report:
    """Return a report that prints lines.

    Every message, completed task and epoch has its line. Running tasks have one at most every ten seconds, so that a
    log of many hours stays readable.

    Args:
        console: Where to print; None is standard error.
        clock: Returns the time in seconds.
    """
    console = console or plain_console()
    transcript = Transcript(EpochTable(), clock)
    last = clock()

    def report(event: Event) -> None:
        nonlocal last
        for line in transcript.add(event):
            console.print(line.text, markup=False)
        if isinstance(event, Advanced) and event.task in transcript.tasks and clock() - last >= _INTERVAL:
            last = clock()
            task = transcript.tasks[event.task]
            console.print("  ".join([task.name, *(word.text for word in task.words(last))]), markup=False)

    return report
