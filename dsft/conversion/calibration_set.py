"""Calibration data of one network, with the statistics that are measured on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import nn

from dsft.choices import TaskName
from dsft.conversion.discovery.preconditions import unwrap_network
from dsft.conversion.discovery.sites import Site
from dsft.conversion.factorization import Weighting
from dsft.conversion.reconstruction.calibration_data import Calibration, read_calibration
from dsft.conversion.reconstruction.fisher import SampledLoss, collect_fisher, emphasize_late_layers
from dsft.errors import ConversionError, did_you_mean
from dsft.measure.example import ExampleInput
from dsft.progress import Report, ignore
from dsft.tasks import task_named


class CalibrationSet:
    """Batches of inputs, and the cost of changing each layer's kernel, which is measured once.

    Args:
        model: The dense network.
        batches: Inputs as the network takes them, on its device; at least one.
        sampled_loss: From the outputs of the network to the loss against labels that are sampled from them.
        seed: Seed of the sampled labels.
        report: Receives the progress.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Sequence[ExampleInput],
        sampled_loss: SampledLoss,
        seed: int = 0,
        report: Report = ignore,
    ) -> None:
        self.batches = batches
        self._model, self._sampled_loss, self._seed, self._report = model, sampled_loss, seed, report
        self._measured: dict[tuple[str, ...], Mapping[str, Weighting]] = {}

    @classmethod
    @torch.inference_mode(mode=False)  # gradients pass through the batches
    def read(
        cls,
        model: nn.Module,
        calibration: Calibration,
        task: str = TaskName.CLASSIFICATION,
        seed: int = 0,
        report: Report = ignore,
    ) -> Self:
        """Read calibration data in any form that :func:`dsft.convert` takes.

        Args:
            model: The dense network.
            calibration: Its inputs, without labels.
            task: What the outputs of the network mean.
            seed: Seed of the sampled labels.
            report: Receives the progress.

        Raises:
            ConversionError: There is no batch, one is not finite, or the task is unknown.
        """
        model = unwrap_network(model)
        return cls(model, read_calibration(calibration, model), sampled_loss_of(task), seed, report)

    def weightings(self, sites: Sequence[Site]) -> Mapping[str, Weighting]:
        """Return the cost of changing each layer's kernel, by name."""
        names = tuple(site.name for site in sites)
        if names not in self._measured:
            measured = collect_fisher(self._model, sites, self.batches, self._seed, self._report, self._sampled_loss)
            self._measured[names] = emphasize_late_layers(measured)
        return self._measured[names]


def sampled_loss_of(task: str) -> SampledLoss:
    """Return the loss of a task against labels that are sampled from the outputs.

    Raises:
        ConversionError: The task is unknown.
    """
    if task not in list(TaskName):
        raise ConversionError(
            f"task: one of {', '.join(TaskName)} is needed, found {task!r}.{did_you_mean(task, TaskName)}"
        )
    return task_named(TaskName(task)).objective.sampled_loss
