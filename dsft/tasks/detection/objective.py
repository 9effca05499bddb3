"""The loss functions of detection, which the networks compute themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Generator, Tensor

from dsft.errors import ModelError
from dsft.losses import project_outputs
from dsft.tasks.task import LossOptions


class DetectionObjective:
    """Implements :class:`dsft.tasks.Objective`."""

    auxiliary_weight: ClassVar = 1.0

    def label_loss(self, outputs: Tensor, targets: Tensor, options: LossOptions, weights: Tensor | None) -> Tensor:
        """Return the sum of the losses ``(losses,)`` that the network computed for the batch.

        Most networks divide by the number of objects in the batch, so accumulated batches are not exactly one batch.
        """
        del targets, options, weights
        return outputs.sum()

    def distillation_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Raise a ``ModelError``: recipes are refused that distil the outputs of a detector."""
        del student, teacher, temperature
        raise ModelError("distill.logits: the outputs of a detector cannot be distilled. Set distill.logits=0.")

    def sampled_loss(self, outputs: Tensor, generator: Generator) -> Tensor:
        """Return a random projection of an output of the network's heads, see :func:`dsft.losses.project_outputs`."""
        return project_outputs(outputs, generator)

    def class_weights(self, counts: Sequence[int], images: int, given: Sequence[float] | None) -> tuple[float, ...]:
        """Return no weights, since the networks take none."""
        del counts, images, given
        return ()
