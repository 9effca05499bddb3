"""One training loop, for networks trained from scratch and for converted ones.

Optimizer, schedule, freezing by phase, distillation, moving average, checkpoints and early stopping each have
a file. The room takes a network, batches and a function that validates; it knows no recipe and no data set.
"""

from dsft.training.batches import TrainingBatch, TrainingLoader
from dsft.training.checkpoint import best_folder, last_folder
from dsft.training.history import EpochValues
from dsft.training.loop import FitResult, Validate, fit
from dsft.training.settings import (
    DistillSettings,
    EmaSettings,
    FitSettings,
    FreezePhase,
    OptimizerSettings,
    ScheduleSettings,
    StoppingSettings,
)
from dsft.training.trial import try_step

__all__ = [
    "DistillSettings",
    "EmaSettings",
    "EpochValues",
    "FitResult",
    "FitSettings",
    "FreezePhase",
    "OptimizerSettings",
    "ScheduleSettings",
    "StoppingSettings",
    "TrainingBatch",
    "TrainingLoader",
    "Validate",
    "best_folder",
    "fit",
    "last_folder",
    "try_step",
]
