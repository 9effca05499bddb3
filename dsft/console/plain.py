"""Progress as lines: for log files, pipes and terminals that cannot redraw."""

from __future__ import annotations

import time
from collections.abc import Callable

from dsft.console.streams import plain_console
from dsft.console.tasks import Task, follow
from dsft.console.wording import sentence
from dsft.progress import Advanced, EpochDone, Event, Note, Report, Warn

_INTERVAL = 10.0  # seconds between two lines about running tasks


def plain_progress(clock: Callable[[], float] = time.monotonic) -> Report:
    """Return a report that writes lines to standard error.

    Every epoch, note and warning has its line; running tasks have one every ten seconds at most, so that
    a log of many hours stays readable.

    Args:
        clock: Returns the time in seconds.
    """
    console = plain_console()
    tasks: dict[str, Task] = {}
    last = clock()

    def report(event: Event) -> None:
        nonlocal last
        now = clock()
        follow(tasks, event, now)
        match event:
            case EpochDone() | Note() | Warn():
                console.print(sentence(event), markup=False)
            case Advanced(name) if name in tasks and now - last >= _INTERVAL:
                last = now
                console.print("  ".join([name, *tasks[name].words(now)]), markup=False)
            case _:
                pass

    return report
