"""The lines that remain of a run: messages, completed tasks and epochs, in the same words wherever they go."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from dsft.console.epochs import EpochTable, early_stop_line
from dsft.console.tasks import Task, follow
from dsft.console.wording import duration
from dsft.progress import EpochDone, Event, Finished, Note, StoppedEarly, Warn


class Kind(Enum):
    """What a line is."""

    MESSAGE = auto()
    WARNING = auto()
    HEADER = auto()
    EPOCH = auto()
    BEST_EPOCH = auto()


@dataclass(frozen=True)
class Line:
    """A line of a transcript; the text of a message may contain line breaks."""

    text: str
    kind: Kind = Kind.MESSAGE


class Transcript:
    """Turns events into lines.

    Args:
        table: How epochs are written.
        clock: Returns the time in seconds.

    Attributes:
        tasks: The running tasks by name, the oldest first.
    """

    def __init__(self, table: EpochTable, clock: Callable[[], float] = time.monotonic) -> None:
        self.tasks: dict[str, Task] = {}
        self._table, self._clock = table, clock

    def add(self, event: Event) -> list[Line]:
        """Follow an event, and return the lines that remain of it."""
        now = self._clock()
        ended = follow(self.tasks, event, now)
        match event:
            case Note(message):
                return [Line(message)]
            case Warn(message):
                return [Line(f"warning: {message}", Kind.WARNING)]
            case StoppedEarly():
                return [Line(early_stop_line(event))]
            case Finished(_, summary) if summary and ended is not None:
                seconds = now - ended.start
                return [Line(f"{summary}, {duration(seconds)}" if seconds >= 1 else summary)]
            case EpochDone():
                *header, row = self._table.add(event)
                kind = Kind.BEST_EPOCH if event.best else Kind.EPOCH
                return [*(Line(text, Kind.HEADER) for text in header), Line(row, kind)]
            case _:
                return []
