"""Progress events: the lower rooms report what happens, the console alone shows it.

A function that takes long has a parameter ``report: Report = ignore`` and calls it with the frozen
events below. It never prints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Started:
    """A task of ``total`` units begins, ``done`` of them earlier; ``unit`` is a plural noun such as ``images``."""

    task: str
    total: int
    unit: str
    done: int = 0


@dataclass(frozen=True)
class Advanced:
    """``done`` units of a task are finished; ``values`` are its current figures, loss or rate, by name."""

    task: str
    done: int
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    """A task is over, completed or not."""

    task: str


@dataclass(frozen=True)
class EpochDone:
    """One epoch of training and its validation are over; ``best`` says that it is the best so far."""

    epoch: int
    epochs: int
    values: Mapping[str, float]
    best: bool


@dataclass(frozen=True)
class Note:
    """A sentence worth showing: what was loaded, what was chosen."""

    message: str


@dataclass(frozen=True)
class Warn:
    """A sentence about something that is allowed and probably not what the user wants."""

    message: str


@dataclass(frozen=True)
class FolderOpened:
    """A run's output folder is ready to be written to.

    Attributes:
        folder: The folder.
        resumed_step: Where the run goes on from a checkpoint, the step after which it was saved; what was logged
            since then happened in vain.
    """

    folder: Path
    resumed_step: int | None = None


@dataclass(frozen=True)
class CheckpointSaved:
    """The state of a training run after ``step`` steps is on the disk."""

    step: int


@dataclass(frozen=True)
class Scored:
    """A network has been scored on a whole split; ``slot`` is the name of its folder under ``evaluation/``."""

    slot: str
    values: Mapping[str, float]


Event = Started | Advanced | Finished | EpochDone | Note | Warn | FolderOpened | CheckpointSaved | Scored
Report = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Show nothing: the default of every ``report`` parameter."""
