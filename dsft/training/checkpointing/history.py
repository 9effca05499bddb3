"""The metrics of each epoch, their file ``metrics.jsonl``, and the progress of a run."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from dsft.storage import write_text

EpochValues = Mapping[str, float]
"""Values by name: ``epoch`` and ``step`` (counted from 1), ``lr``, ``train_loss``, the validation metrics, ``seconds``,
``images_per_second``, and ``data_share``: the fraction of the training time spent waiting for images."""

_TRAINING_NAMES = ("epoch", "step", "lr", "train_loss", "seconds", "images_per_second", "data_share")


@dataclass
class EpochMeter:
    """Sums over the steps of one epoch.

    Attributes:
        loss_sum: Sum of the losses of the images.
        images: Number of images.
        seconds: Training time, measured with a monotonic clock.
        data_seconds: Part of it spent waiting for images.
    """

    loss_sum: float = 0.0
    images: int = 0
    seconds: float = 0.0
    data_seconds: float = 0.0
    _since: float = field(default_factory=time.perf_counter, repr=False)

    def start(self) -> None:
        """Start the clock, after time that is not training: a validation, a checkpoint, the start of the program."""
        self._since = time.perf_counter()

    def add_data_time(self) -> None:
        """Count the time since the last step as waiting for images."""
        self.data_seconds += self._lap()

    def add_step_time(self) -> None:
        """Count the time since the images arrived as training."""
        self._lap()

    def add(self, loss: float, images: int) -> None:
        """Count the images of a step with their mean loss."""
        self.loss_sum += loss * images
        self.images += images

    def _lap(self) -> float:
        now = time.perf_counter()
        passed, self._since = now - self._since, now
        self.seconds += passed
        return passed

    @property
    def loss(self) -> float:
        """Mean loss of the images so far."""
        return self.loss_sum / self.images

    def values(self, *, epoch: int, step: int, rate: float, validated: Mapping[str, float]) -> EpochValues:
        """Return the values of an epoch; its seconds include the validation."""
        return {
            "epoch": epoch,
            "step": step,
            "lr": rate,
            "train_loss": self.loss,
            **validated,
            "seconds": self.seconds + time.perf_counter() - self._since,
            "images_per_second": self.images / self.seconds,
            "data_share": self.data_seconds / self.seconds,
        }


@dataclass
class RunProgress:
    """How far a run has come: the part of its state that is not a tensor.

    Attributes:
        step: Completed steps of the schedule, which is the number of the next one.
        history: The values of every validated epoch.
        meter: Sums over the epoch in progress.
        images: Images of the epochs in the history.
        seconds: Training time of the epochs in the history, without validation.
    """

    step: int = 0
    history: list[EpochValues] = field(default_factory=list)
    meter: EpochMeter = field(default_factory=EpochMeter)
    images: int = 0
    seconds: float = 0.0

    def close_epoch(self, values: EpochValues) -> None:
        """Append the values of an epoch, and reset the meter."""
        self.history.append(values)
        self.images += self.meter.images
        self.seconds += self.meter.seconds
        self.meter = EpochMeter()

    def to_dict(self) -> dict[str, Any]:
        """Return the progress as JSON values; ``tally`` is the meter's name in checkpoints."""
        meter = {name: getattr(self.meter, name) for name in ("loss_sum", "images", "seconds", "data_seconds")}
        return {
            "step": self.step,
            "tally": meter,
            "images": self.images,
            "seconds": self.seconds,
            "history": [dict(values) for values in self.history],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Restore what :meth:`to_dict` returned."""
        return cls(
            values["step"], list(values["history"]), EpochMeter(**values["tally"]), values["images"], values["seconds"]
        )


def validation_metrics(values: EpochValues) -> dict[str, float]:
    """Return the validation metrics among the values of an epoch."""
    return {name: value for name, value in values.items() if name not in _TRAINING_NAMES}


def write_history(run: Path, history: Sequence[EpochValues]) -> None:
    """Write ``metrics.jsonl``, one line per epoch.

    The whole file is written each time: a run that is resumed from a checkpoint drops the lines after it.
    """
    lines = (json.dumps(dict(values), allow_nan=False) + "\n" for values in history)
    write_text(run / "metrics.jsonl", "".join(lines))
