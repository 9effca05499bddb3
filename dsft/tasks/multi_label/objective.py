"""The loss functions of multi-label classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Generator, Tensor

from dsft.losses import binary_cross_entropy, binary_distillation_loss, sampled_binary_cross_entropy
from dsft.tasks.task import LossOptions


class MultiLabelObjective:
    """Implements :class:`dsft.tasks.Objective`."""

    auxiliary_weight: ClassVar = 0.3  # Szegedy et al. 2015 (Going Deeper with Convolutions, section 5)

    def label_loss(self, outputs: Tensor, targets: Tensor, options: LossOptions, weights: Tensor | None) -> Tensor:
        """Return the binary cross entropy; the weights are those of the positive labels."""
        return binary_cross_entropy(outputs, targets, smoothing=options.smoothing, weights=weights)

    def distillation_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return the softened divergence of all binary decisions."""
        return binary_distillation_loss(student, teacher, temperature)

    def sampled_loss(self, outputs: Tensor, generator: Generator) -> Tensor:
        """Return the binary cross entropy with respect to sampled sets of labels."""
        return sampled_binary_cross_entropy(outputs, generator)

    def class_weights(self, counts: Sequence[int], images: int, given: Sequence[float] | None) -> tuple[float, ...]:
        """Return the weights of the positive labels; by default positives and negatives of a label are balanced."""
        if given is not None:
            return tuple(given)
        # At least one negative: with weight 0 the label would be unlearnt.
        return tuple(max(images - count, 1) / count for count in counts)
