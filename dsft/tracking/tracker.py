"""The interface of an experiment tracker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

PROJECT = "dsft"
"""Name of the project (W&B) or experiment (MLflow) that the runs belong to."""


@dataclass(frozen=True)
class TrackedRun:
    """A run as trackers know it.

    Attributes:
        folder: The run's folder.
        name: The run's name.
        config: The recipe as JSON values.
        resumed_step: If the run resumes from a checkpoint, the step after which that was saved.
        identity: Identifies the run; a resumed run has the same as before.
    """

    folder: Path
    name: str
    config: Mapping[str, Any]
    resumed_step: int | None
    identity: str


class Tracker(Protocol):
    """A run in one tracker; values have the names of ``metrics.jsonl``."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log the values of a step, counted from 1."""

    def close(self, *, succeeded: bool) -> None:
        """End the run in the tracker."""
