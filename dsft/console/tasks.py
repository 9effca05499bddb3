"""The tasks that are running: how far they are, how fast, and how long they will still take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from dsft.console.wording import duration, figure, figures
from dsft.progress import Advanced, Event, Finished, Started


class Word(NamedTuple):
    """A part of a task's line; if the line is too long, the parts of the lowest importance are left out."""

    text: str
    importance: int


@dataclass(frozen=True)
class Task:
    """One task at one moment.

    Attributes:
        name: Its name.
        total: Number of units.
        unit: What is counted, a plural noun.
        start: When it began, in seconds of some clock.
        done: Units that are processed.
        values: Its current figures, by name.
        before: Units that an earlier process had processed; they do not count for the rate.
        epochs: Number of epochs that the units are divided into; None if it has no epochs.
    """

    name: str
    total: int
    unit: str
    start: float
    done: int = 0
    values: Mapping[str, float] = field(default_factory=dict)
    before: int = 0
    epochs: int | None = None

    @property
    def label(self) -> str:
        """The name, or which epoch is running."""
        if not self.epochs or not self.total:
            return self.name
        # After its last step an epoch is validated before the next one begins.
        epoch = max(1, -(-self.done * self.epochs // self.total))
        return f"epoch {min(epoch, self.epochs):>{len(str(self.epochs))}}/{self.epochs}"

    def words(self, now: float) -> list[Word]:
        """Return its figures: count, rate, time left, values.

        Args:
            now: The time on the clock of ``start``.
        """
        # The first value, such as the loss, is more important than the rate, and the others are less.
        values = [Word(text, -2 * number) for number, text in enumerate(figures(self.values))]
        count = f"{self.done:>{len(str(self.total))}}/{self.total}"
        if self.done == self.before or now <= self.start:
            return [Word(f"{count} {self.unit}", 3), *values]
        rate = (self.done - self.before) / (now - self.start)
        left = duration(max(self.total - self.done, 0) / rate)
        return [
            Word(count, 3),
            Word(f"{figure(rate, digits=3)} {self.unit}/s", -1),
            Word(f"{left} left", 2),
            *values,
        ]


def follow(tasks: dict[str, Task], event: Event, now: float) -> Task | None:
    """Update the running tasks, by name and the oldest first, and return the task that has ended, if one has.

    Args:
        tasks: Changed in place.
        event: What happened; events that concern no task change nothing.
        now: When it happened, in seconds.
    """
    match event:
        case Started(name, total, unit, done, epochs):
            tasks[name] = Task(name, total, unit, start=now, done=done, before=done, epochs=epochs)
        case Advanced(name, done, values) if name in tasks:
            tasks[name] = replace(tasks[name], done=done, values=values)
        case Finished(name):
            return tasks.pop(name, None)
        case _:
            pass
    return None
