"""The figures of each epoch, and their file ``metrics.jsonl``."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dsft.storage import write_text

EpochValues = Mapping[str, float]
"""Figures by name: ``epoch`` and ``step`` (counted from 1), ``lr``, ``train_loss``, those of the validation,
``seconds`` and ``images_per_second``."""


@dataclass
class Tally:
    """What one pass over the training split sums up.

    Attributes:
        loss_sum: Loss of each image, added up.
        images: Images trained on.
        started: When the pass began, on the clock of ``time.perf_counter``, in seconds.
        seconds: How long the images seen so far took.
    """

    loss_sum: float = 0.0
    images: int = 0
    started: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0

    def add(self, loss: float, images: int) -> None:
        """Count one batch and its mean loss."""
        self.loss_sum += loss * images
        self.images += images
        self.seconds = time.perf_counter() - self.started

    @property
    def loss(self) -> float:
        """Mean loss of the images so far."""
        return self.loss_sum / self.images

    def values(self, *, epoch: int, step: int, rate: float, validated: Mapping[str, float]) -> EpochValues:
        """Return the figures of an epoch, validation included in its seconds."""
        return {
            "epoch": epoch,
            "step": step,
            "lr": rate,
            "train_loss": self.loss,
            **validated,
            "seconds": time.perf_counter() - self.started,
            "images_per_second": self.images / self.seconds,
        }


def write_history(run: Path, history: Sequence[EpochValues]) -> None:
    """Write ``metrics.jsonl``, one line for each epoch.

    The whole file is written each time: a run that goes on from a checkpoint drops the lines after it.
    """
    lines = (json.dumps(dict(values), allow_nan=False) + "\n" for values in history)
    write_text(run / "metrics.jsonl", "".join(lines))
