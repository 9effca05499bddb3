"""Progress events: lower layers report what happens, and only the console displays it.

A function that takes long has a parameter ``report: Report = ignore`` and calls it with the frozen events below. It
never prints.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Started:
    """A task begins.

    Attributes:
        task: Name of the task, which says what happens, such as ``refitting layers``.
        total: Number of units to process.
        unit: What is counted, a plural noun such as ``images``.
        done: Units that were processed before, by an earlier process.
        epochs: Number of epochs that the units are divided into evenly; None if the task has no epochs.
    """

    task: str
    total: int
    unit: str
    done: int = 0
    epochs: int | None = None


@dataclass(frozen=True)
class Advanced:
    """``done`` units of a task are processed; ``values`` are its current figures, such as the loss, by name."""

    task: str
    done: int
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    """A task has ended, completed or not.

    Attributes:
        task: Name of the task.
        summary: What was done, such as ``refitted 17 layers``. It is displayed permanently, with the time that the
            task took. Empty if nothing is to remain.
    """

    task: str
    summary: str = ""


@dataclass(frozen=True)
class EpochDone:
    """One epoch of training and its validation have ended.

    Attributes:
        epoch: Its number, counted from 1.
        epochs: Number of epochs.
        values: Its figures by name.
        best: It is the best one so far.
        unit: What ``images_per_second`` counts, a plural noun.
    """

    epoch: int
    epochs: int
    values: Mapping[str, float]
    best: bool
    unit: str = "images"


@dataclass(frozen=True)
class StoppedEarly:
    """Early stopping has ended the training.

    Attributes:
        epoch: The last epoch.
        epochs: Number of epochs that were planned.
        patience: Number of epochs without an improvement after which training stops.
        monitor: Name of the metric that should have improved, such as ``val/top1``.
        best_epoch: The epoch with its best value.
        best: That value.
    """

    epoch: int
    epochs: int
    patience: int
    monitor: str
    best_epoch: int
    best: float


@dataclass(frozen=True)
class Note:
    """A message worth displaying, such as what was loaded or chosen."""

    message: str


@dataclass(frozen=True)
class Warn:
    """A warning about something that is allowed but probably not intended."""

    message: str


@dataclass(frozen=True)
class FolderOpened:
    """The output folder of a run is ready to be written to.

    Attributes:
        folder: Path of the folder.
        resumed_step: If the run resumes from a checkpoint, the step after which that was saved. What was logged after
            this step is discarded.
    """

    folder: Path
    resumed_step: int | None = None


@dataclass(frozen=True)
class CheckpointSaved:
    """The training state after ``step`` steps has been written to disk."""

    step: int


@dataclass(frozen=True)
class Scored:
    """A network has been evaluated on a whole split; ``slot`` is the name of its folder under ``evaluation/``."""

    slot: str
    values: Mapping[str, float]


Event = Started | Advanced | Finished | EpochDone | StoppedEarly | Note | Warn | FolderOpened | CheckpointSaved | Scored
Report = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Discard an event: the default of the ``report`` parameters inside dsft."""


def warn(event: Event) -> None:
    """Issue a Python warning for a :class:`Warn`, and discard other events: the default of ``dsft.convert``."""
    if isinstance(event, Warn):
        warnings.warn(event.message, stacklevel=2)


class Advance(Protocol):
    """Reports the number of processed units of a task, and its current figures by name."""

    def __call__(self, done: int, values: Mapping[str, float] = ..., /) -> None: ...  # noqa: D102


@contextlib.contextmanager
def report_task(report: Report, task: str, total: int, unit: str, summary: str = "") -> Iterator[Advance]:
    """Report a task from its start to its end, and its end also if an error stops it.

    Args:
        report: Receives the events.
        task: Name of the task, which says what happens, such as ``refitting layers``.
        total: Number of units to process.
        unit: What is counted, a plural noun such as ``images``.
        summary: What has been done once the task is completed, such as ``refitted 17 layers``; see :class:`Finished`.

    Yields:
        A function to call with the number of units processed so far.
    """

    def advance(done: int, values: Mapping[str, float] | None = None, /) -> None:
        report(Advanced(task, done, values or {}))

    report(Started(task, total, unit))
    try:
        yield advance
    except BaseException:
        report(Finished(task))
        raise
    report(Finished(task, summary))
