"""The loss functions of classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Generator, Tensor

from dsft.losses import distillation_loss, sampled_cross_entropy, soft_cross_entropy
from dsft.tasks.task import LossOptions


class ClassificationObjective:
    """Implements :class:`dsft.tasks.Objective`."""

    auxiliary_weight: ClassVar = 0.3  # Szegedy et al. 2015 (Going Deeper with Convolutions, section 5)

    def label_loss(self, outputs: Tensor, targets: Tensor, options: LossOptions, weights: Tensor | None) -> Tensor:
        """Return the cross entropy."""
        return soft_cross_entropy(outputs, targets, smoothing=options.smoothing, weights=weights)

    def distillation_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return the softened Kullback-Leibler divergence of Hinton et al. 2015."""
        return distillation_loss(student, teacher, temperature)

    def sampled_loss(self, outputs: Tensor, generator: Generator) -> Tensor:
        """Return the cross entropy with respect to one sampled class per image."""
        return sampled_cross_entropy(outputs, generator)

    def class_weights(self, counts: Sequence[int], images: int, given: Sequence[float] | None) -> tuple[float, ...]:
        """Scale the weights to a mean of 1 over the images; by default the classes are balanced."""
        if given is None:
            return tuple(images / (len(counts) * count) for count in counts)
        mean = sum(weight * count for weight, count in zip(given, counts, strict=True)) / images
        return tuple(weight / mean for weight in given)
