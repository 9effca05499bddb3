"""Progress that is redrawn at the bottom of a terminal."""

from __future__ import annotations

import sys
import textwrap
import time
from types import TracebackType
from typing import Self

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dsft.console.epochs import EpochTable
from dsft.console.streams import live_console
from dsft.console.tasks import Task
from dsft.console.transcript import Kind, Line, Transcript
from dsft.progress import Event

_STYLES = {Kind.WARNING: "yellow", Kind.HEADER: "dim", Kind.BEST_EPOCH: "bold"}
_LABEL_WIDTH = 18  # of "evaluating on test", so that the bar stays in place while an epoch is validated


class LiveProgress:
    """A report that draws the running tasks; messages, completed tasks and epochs remain above them.

    What other code prints to the terminal meanwhile appears above the tasks. Nothing is drawn while no task runs. As a
    context manager it removes the tasks that an error has left running.

    Args:
        console: Where to draw; None is standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or live_console()
        self._transcript = Transcript(EpochTable(self._console.width))
        self._live: Live | None = None
        self._has_printed = False

    def __call__(self, event: Event) -> None:
        """Display an event."""
        for line in self._transcript.add(event):
            self._console.print(styled(line, self._console.width))
            self._has_printed = True
        if self._transcript.tasks:
            self._start()
        else:
            self._stop()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove what is drawn, and set off what follows."""
        self._stop()
        if self._has_printed:
            self._console.print()

    def _start(self) -> None:
        if self._live is not None:
            return
        self._live = Live(
            get_renderable=lambda: TaskLines(list(self._transcript.tasks.values()), time.monotonic()),
            console=self._console,
            transient=True,
            # rich would send standard output to standard error: right only where both are the terminal.
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
        )
        self._live.start()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


class TaskLines:
    """The running tasks, a line each, never wider than the terminal.

    Args:
        tasks: The tasks.
        now: The time on the clock that they were started by.
    """

    def __init__(self, tasks: list[Task], now: float) -> None:
        self._tasks, self._now = tasks, now

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for task in self._tasks:
            yield _task_line(task, self._now, options.max_width)


def _task_line(task: Task, now: float, width: int) -> RenderableType:
    """Lay out one task: label, bar of a fixed width, and the figures that there is room for."""
    bar_width = 24 if width >= 100 else 12 if width >= 60 else 0
    label = task.label.ljust(_LABEL_WIDTH) if bar_width else task.label
    room = width - cell_len(label) - 2 - (bar_width + 2 if bar_width else 0)
    words = task.words(now)
    while len(words) > 1 and cell_len("  ".join(word.text for word in words)) > room:
        words.remove(min(words, key=lambda word: word.importance))
    text = "  ".join(word.text for word in words)
    if not bar_width or cell_len(text) > room:
        return Text(f"{task.label}  {text}", no_wrap=True, overflow="crop")
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_row(Text(label), ProgressBar(total=max(task.total, 1), completed=task.done, width=bar_width), Text(text))
    return row


def styled(line: Line, width: int) -> Text:
    """Return a line as it is displayed: a message is wrapped, a row is not."""
    style = _STYLES.get(line.kind, "")
    if line.kind in (Kind.HEADER, Kind.EPOCH, Kind.BEST_EPOCH):
        return Text(line.text, style=style, no_wrap=True, overflow="crop")
    wrap = textwrap.TextWrapper(width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False).wrap
    return Text("\n".join(part for text in line.text.splitlines() for part in wrap(text) or [""]), style=style)
