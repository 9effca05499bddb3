"""The trackers by name, and the packages that they need."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from dsft.choices import TrackerName
from dsft.errors import RecipeError
from dsft.tracking.mlflow import MlflowTracker
from dsft.tracking.tensorboard import TensorBoardTracker
from dsft.tracking.tracker import TrackedRun, Tracker
from dsft.tracking.wandb import WandbTracker


class _Entry(NamedTuple):
    module: str
    build: Callable[[Any, TrackedRun], Tracker]


TRACKERS: Mapping[TrackerName, _Entry] = {
    TrackerName.TENSORBOARD: _Entry("torch.utils.tensorboard", TensorBoardTracker),
    TrackerName.WANDB: _Entry("wandb", WandbTracker),
    TrackerName.MLFLOW: _Entry("mlflow", MlflowTracker),
}
"""A new tracker is a file in this package and a line here. ``jsonl`` is not in the table, since every run writes it."""


def require_tracker(name: TrackerName) -> None:
    """Check that the package of a tracker is installed.

    Raises:
        RecipeError: It is not.
    """
    if name in TRACKERS:
        _import_library(name)


def open_tracker(name: TrackerName, run: TrackedRun) -> Tracker:
    """Begin or continue a run in a tracker.

    Raises:
        RecipeError: Its package is not installed.
    """
    return TRACKERS[name].build(_import_library(name), run)


def _import_library(name: TrackerName) -> Any:
    try:
        return importlib.import_module(TRACKERS[name].module)
    except ImportError as error:
        raise RecipeError(
            f"log.to: {name} needs a package that is not installed ({error}). Install it with pip install "
            f"'dsft[{name}]', or remove {name} from log.to."
        ) from error
