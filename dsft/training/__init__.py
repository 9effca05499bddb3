"""The training loop, the same for networks trained from scratch and for converted ones.

It takes a network, batches and a validation function, and knows neither recipes nor data sets. README.md describes what
a run does and writes.
"""

from dsft.training.accumulation import steps_per_epoch
from dsft.training.batches import TrainingBatch, TrainingLoader
from dsft.training.checkpointing.checkpoint import (
    Checkpoint,
    best_folder,
    find_checkpoint,
    last_folder,
    previous_folder,
)
from dsft.training.checkpointing.history import EpochValues
from dsft.training.checkpointing.interruption import ignored_save_signal
from dsft.training.fitting import fit
from dsft.training.loop import Validate
from dsft.training.range_test import RangeTest, run_range_test
from dsft.training.result import FitResult
from dsft.training.settings import (
    DistillSettings,
    EmaSettings,
    FitSettings,
    FreezePhase,
    OptimizerSettings,
    ScheduleSettings,
    StoppingSettings,
)
from dsft.training.setup import TrainingSetup
from dsft.training.trial_step import try_step

__all__ = [
    "Checkpoint",
    "DistillSettings",
    "EmaSettings",
    "EpochValues",
    "FitResult",
    "FitSettings",
    "FreezePhase",
    "OptimizerSettings",
    "RangeTest",
    "ScheduleSettings",
    "StoppingSettings",
    "TrainingBatch",
    "TrainingLoader",
    "TrainingSetup",
    "Validate",
    "best_folder",
    "find_checkpoint",
    "fit",
    "ignored_save_signal",
    "last_folder",
    "previous_folder",
    "run_range_test",
    "steps_per_epoch",
    "try_step",
]
