"""Progress in a notebook: one output of the cell, replaced as the run proceeds."""

from __future__ import annotations

import importlib
import io
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group
from rich.text import Text

from dsft.console.epochs import EpochTable
from dsft.console.live import TaskLines, styled
from dsft.console.transcript import Transcript
from dsft.progress import Event, Report

_WIDTH = 100  # characters
_INTERVAL = 0.25  # seconds between two updates for running tasks
_HTML = '<pre style="white-space: pre; overflow-x: auto; line-height: 1.3; margin: 0">{code}</pre>'

Show = Callable[[str, str], None]
"""Replaces what is displayed: as HTML, and as text for front ends that have no HTML."""


def notebook_progress(show: Show | None = None, clock: Callable[[], float] = time.monotonic) -> Report:
    """Return a report that displays messages, completed tasks, epochs and below them the running tasks.

    rich's own live display is not used: it needs ipywidgets, and loses lines that are printed while its thread draws.

    Args:
        show: Replaces what is displayed; None is an output of the current cell.
        clock: Returns the time in seconds.
    """
    show = show or _cell_output()
    transcript = Transcript(EpochTable(_WIDTH), clock)
    lines: list[Text] = []
    last, is_drawn = clock(), False

    def report(event: Event) -> None:
        nonlocal last, is_drawn
        added = [styled(line, _WIDTH) for line in transcript.add(event)]
        lines.extend(added)
        has_running = bool(transcript.tasks)
        if added or has_running != is_drawn or (has_running and clock() - last >= _INTERVAL):
            last, is_drawn = clock(), has_running
            show(*_rendered(lines, TaskLines(list(transcript.tasks.values()), last)))

    return report


def _rendered(lines: list[Text], tasks: TaskLines) -> tuple[str, str]:
    console = Console(
        file=io.StringIO(),
        record=True,
        width=_WIDTH,
        force_terminal=True,
        force_jupyter=False,
        highlight=False,
        emoji=False,
    )
    console.print(Group(*lines, tasks))
    text = console.export_text(clear=False)
    return console.export_html(inline_styles=True, code_format=_HTML), text


def _cell_output() -> Show:
    display = importlib.import_module("IPython.display").display
    handle: Any = None

    def show(html: str, text: str) -> None:
        nonlocal handle
        content = {"text/html": html, "text/plain": text}
        if handle is None:
            handle = display(content, raw=True, display_id=True)
        else:
            handle.update(content, raw=True)

    return show
