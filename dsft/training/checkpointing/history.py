"""The figures of each epoch, their file ``metrics.jsonl``, and how far a run has come."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from dsft.storage import write_text

EpochValues = Mapping[str, float]
"""Figures by name: ``epoch`` and ``step`` (counted from 1), ``lr``, ``train_loss``, those of the validation,
``seconds``, ``images_per_second``, and ``data_share``: the part of the training's time that it waited for images."""

_OWN = ("epoch", "step", "lr", "train_loss", "seconds", "images_per_second", "data_share")


@dataclass
class Tally:
    """What one pass over the training split sums up.

    Attributes:
        loss_sum: Loss of each image, added up.
        images: Images trained on.
        seconds: How long they took; the clock is one that is never set.
        data_seconds: How much of it went by until the images were there.
    """

    loss_sum: float = 0.0
    images: int = 0
    seconds: float = 0.0
    data_seconds: float = 0.0
    _since: float = field(default_factory=time.perf_counter, repr=False)

    def start(self) -> None:
        """Begin to measure here, after what is no training: a validation, a checkpoint, a start of the program."""
        self._since = time.perf_counter()

    def got_data(self) -> None:
        """Count the time since the last step as spent on waiting for images."""
        self.data_seconds += self._lap()

    def add(self, loss: float, images: int) -> None:
        """Count one step and its mean loss."""
        self.loss_sum += loss * images
        self.images += images
        self._lap()

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
        """Return the figures of an epoch, validation included in its seconds."""
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
class Standing:
    """How far a run has come: everything that moves and is no tensor.

    Attributes:
        step: Steps of the schedule that are behind; the next one has this number.
        history: The figures of every epoch that was validated.
        tally: The epoch that is under way.
        images: Images trained on in the epochs of the history.
        seconds: How long they took, validation left out.
    """

    step: int = 0
    history: list[EpochValues] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    images: int = 0
    seconds: float = 0.0

    def close_epoch(self, values: EpochValues) -> None:
        """Keep an epoch's figures, and begin to count the next one."""
        self.history.append(values)
        self.images += self.tally.images
        self.seconds += self.tally.seconds
        self.tally = Tally()

    def to_dict(self) -> dict[str, Any]:
        """Return the standing as JSON values."""
        tally = {name: getattr(self.tally, name) for name in ("loss_sum", "images", "seconds", "data_seconds")}
        return {
            "step": self.step,
            "tally": tally,
            "images": self.images,
            "seconds": self.seconds,
            "history": [dict(values) for values in self.history],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild what :meth:`to_dict` returned."""
        return cls(
            values["step"], list(values["history"]), Tally(**values["tally"]), values["images"], values["seconds"]
        )


def validated_figures(values: EpochValues) -> dict[str, float]:
    """Return those figures of an epoch that its validation found."""
    return {name: value for name, value in values.items() if name not in _OWN}


def write_history(run: Path, history: Sequence[EpochValues]) -> None:
    """Write ``metrics.jsonl``, one line for each epoch.

    The whole file is written each time: a run that goes on from a checkpoint drops the lines after it.
    """
    lines = (json.dumps(dict(values), allow_nan=False) + "\n" for values in history)
    write_text(run / "metrics.jsonl", "".join(lines))
