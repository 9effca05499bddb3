"""The loss functions of restoration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from torch import Generator, Tensor
from torch.nn import functional

from dsft.choices import PixelLoss
from dsft.errors import ModelError
from dsft.losses import project_outputs
from dsft.tasks.task import LossOptions

_LOSSES: Mapping[PixelLoss, Callable[[Tensor, Tensor], Tensor]] = {
    PixelLoss.L1: functional.l1_loss,
    PixelLoss.L2: functional.mse_loss,
}


class RestorationObjective:
    """Implements :class:`dsft.tasks.Objective`."""

    auxiliary_weight: ClassVar = 0.5

    def label_loss(self, outputs: Tensor, targets: Tensor, options: LossOptions, weights: Tensor | None) -> Tensor:
        """Return the mean absolute or squared difference of the pixels."""
        del weights
        if outputs.shape != targets.shape:
            raise ModelError(
                "output of the model: restored images must have the shape of the clean ones, found "
                f"{tuple(outputs.shape)} and {tuple(targets.shape)}. Let the network keep the size of its input."
            )
        return _LOSSES[options.pixel](outputs.float(), targets)

    def distillation_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return the mean squared difference; images have no temperature."""
        del temperature
        return functional.mse_loss(student.float(), teacher.float())

    def sampled_loss(self, outputs: Tensor, generator: Generator) -> Tensor:
        """Return a random projection of the image, see :func:`dsft.losses.project_outputs`."""
        return project_outputs(outputs, generator)

    def class_weights(self, counts: Sequence[int], images: int, given: Sequence[float] | None) -> tuple[float, ...]:
        """Return no weights, since there are no classes."""
        del counts, images, given
        return ()
