"""One training loop, for networks trained from scratch and for converted ones.

Optimizer, schedule, freezing by phase, distillation, moving average, checkpoints and early stopping each have
a file. The room takes a network, batches and a function that validates; it knows no recipe and no data set.
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
from dsft.training.checkpointing.interruption import save_signal_outlived
from dsft.training.fitting import fit
from dsft.training.loop import FitResult, Validate
from dsft.training.range_test import RangeTest, run_range_test
from dsft.training.settings import (
    DistillSettings,
    EmaSettings,
    FitSettings,
    FreezePhase,
    OptimizerSettings,
    ScheduleSettings,
    StoppingSettings,
)
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
    "Validate",
    "best_folder",
    "find_checkpoint",
    "fit",
    "last_folder",
    "previous_folder",
    "run_range_test",
    "save_signal_outlived",
    "steps_per_epoch",
    "try_step",
]
