"""Progress that redraws itself at the foot of a terminal."""

from __future__ import annotations

import contextlib
import sys
import textwrap
import time
from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dsft.console.streams import live_console
from dsft.console.tasks import Task, follow
from dsft.console.wording import sentence
from dsft.progress import EpochDone, Event, Note, Report, Warn

_SHORTEST_BAR = 8
_LONGEST_BAR = 32


@contextlib.contextmanager
def live_progress() -> Iterator[Report]:
    """Yield a report that draws running tasks on standard error; epochs, notes and warnings stay above them.

    What other code writes to the terminal meanwhile appears above the tasks. Afterwards the tasks are gone.
    """
    console = live_console()
    tasks: dict[str, Task] = {}

    def report(event: Event) -> None:
        follow(tasks, event, time.monotonic())
        if isinstance(event, EpochDone | Note | Warn):
            console.print(_lasting(event, console.width))

    # rich would send standard output to standard error: right only where both are the terminal.
    with Live(
        get_renderable=lambda: _Tasks(list(tasks.values())),
        console=console,
        transient=True,
        redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
    ):
        yield report


class _Tasks:
    """The running tasks, a line each, never wider than the terminal."""

    def __init__(self, tasks: list[Task]) -> None:
        self._tasks = tasks

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        now = time.monotonic()
        for task in self._tasks:
            yield _line(task, now, options.max_width)


def _line(task: Task, now: float, width: int) -> RenderableType:
    """Lay out one task: what does not fit is left out, the bar first and then the least important figure."""
    words = task.words(now)
    while len(words) > 1 and cell_len("  ".join([task.name, *words])) > width:
        words.pop()
    text = "  ".join(words)
    room = width - cell_len(task.name) - cell_len(text) - 4
    if room < _SHORTEST_BAR:
        return Text(f"{task.name}  {text}", no_wrap=True, overflow="ellipsis")
    # In steps, so that figures of changing length do not make it jump.
    width_of_bar = min(room - room % _SHORTEST_BAR, _LONGEST_BAR)
    bar = ProgressBar(total=max(task.total, 1), completed=task.done, width=width_of_bar)
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_row(Text(task.name), bar, Text(text))
    return row


def _lasting(event: EpochDone | Note | Warn, width: int) -> Text:
    wrap = textwrap.TextWrapper(width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False).wrap
    lines = [part for line in sentence(event).splitlines() for part in wrap(line) or [""]]
    is_best = isinstance(event, EpochDone) and event.best
    style = "yellow" if isinstance(event, Warn) else "bold" if is_best else ""
    return Text("\n".join(lines), style=style)
