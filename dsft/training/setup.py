"""The network of a training run, and what stays the same from its first step to its last."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from torch import nn

from dsft.devices import Compute
from dsft.distributed.processes import ALONE, Processes
from dsft.training.settings import FitSettings


@dataclass(frozen=True)
class TrainingSetup:
    """A network to train, its hyperparameters, and where it runs.

    Attributes:
        module: The network; it is moved to the device and trained in place.
        settings: Hyperparameters.
        compute: Device, number format and memory layout.
        teacher: The network to distill from, with ``settings.distill``; it is moved to the device and set to
            evaluation mode.
        head: Names of the parameters of the classifier heads, which ``head`` in a pattern stands for.
        converted: Names of the parameters of converted layers, which ``converted`` in a pattern stands for.
        processes: The processes that train the network together, each on its part of every batch; they start with the
            same weights.

    Raises:
        ValueError: There is a teacher without ``settings.distill``, or the other way round.
    """

    module: nn.Module
    settings: FitSettings
    compute: Compute
    teacher: nn.Module | None = None
    head: Collection[str] = ()
    converted: Collection[str] = ()
    processes: Processes = ALONE

    def __post_init__(self) -> None:
        if (self.teacher is None) != (self.settings.distill is None):
            raise ValueError("a teacher and settings.distill go together, found one without the other")
