"""The result of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dsft.choices import WeightsKind
from dsft.training.checkpointing.history import EpochValues


@dataclass(frozen=True)
class FitResult:
    """The result of a training run.

    Attributes:
        best_epoch: The epoch with the best validation metric, counted from 1.
        best: Its validation metrics.
        epochs_run: Number of epochs that were trained and validated.
        steps: Their number of steps in the schedule.
        stopped_early: Whether ``patience`` ended the run.
        weights: Which weights the network has now: those of the best epoch (trained, or their moving average), or the
            mean of those of the best epochs.
        averaged: The epochs whose weights were averaged, the best first; a single one if there is no mean.
        images_per_second: Training throughput, without validation.
        history: The values of every epoch, as in ``metrics.jsonl``.
    """

    best_epoch: int
    best: Mapping[str, float]
    epochs_run: int
    steps: int
    stopped_early: bool
    weights: WeightsKind
    averaged: tuple[int, ...]
    images_per_second: float
    history: tuple[EpochValues, ...]
