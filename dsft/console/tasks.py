"""The tasks that run now: how far, how fast, how long still."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dsft.console.wording import duration, figure, figures
from dsft.progress import Advanced, Event, Finished, Started


@dataclass(frozen=True)
class Task:
    """One task at one moment.

    Attributes:
        name: What it is called.
        total: Units in all.
        unit: What is counted, a plural noun.
        start: When it began, in seconds of some clock.
        done: Units that are finished.
        values: Its current figures, by name.
        before: Units that an earlier process had finished, which say nothing of the rate.
    """

    name: str
    total: int
    unit: str
    start: float
    done: int = 0
    values: Mapping[str, float] = field(default_factory=dict)
    before: int = 0

    def words(self, now: float) -> list[str]:
        """Return its figures in words, the most important first: count, rate, time left, values.

        Args:
            now: The time on the clock of ``start``.
        """
        count = f"{self.done}/{self.total}"
        if self.done == self.before or now <= self.start:
            return [f"{count} {self.unit}", *figures(self.values)]
        rate = (self.done - self.before) / (now - self.start)
        left = duration(max(self.total - self.done, 0) / rate)
        return [count, f"{figure(rate, digits=3)} {self.unit}/s", f"{left} left", *figures(self.values)]


def follow(tasks: dict[str, Task], event: Event, now: float) -> None:
    """Bring the running tasks, by name and the oldest first, up to date with an event.

    Args:
        tasks: Changed in place.
        event: What happened; events that concern no task change nothing.
        now: When it happened, in seconds.
    """
    match event:
        case Started(name, total, unit, done):
            tasks[name] = Task(name, total, unit, start=now, done=done, before=done)
        case Advanced(name, done, values) if name in tasks:
            tasks[name] = replace(tasks[name], done=done, values=values)
        case Finished(name):
            tasks.pop(name, None)
        case _:
            pass
