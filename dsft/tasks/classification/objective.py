"""The loss functions of classification."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator, Tensor

from dsft.losses import distillation_loss, sampled_cross_entropy, soft_cross_entropy


class ClassificationObjective:
    """Implements :class:`dsft.tasks.Objective`."""

    def label_loss(self, logits: Tensor, targets: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
        """Return the cross entropy."""
        return soft_cross_entropy(logits, targets, smoothing=smoothing, weights=weights)

    def distillation_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return the softened Kullback-Leibler divergence of Hinton et al. 2015."""
        return distillation_loss(student, teacher, temperature)

    def sampled_loss(self, logits: Tensor, generator: Generator) -> Tensor:
        """Return the cross entropy with respect to one sampled class per image."""
        return sampled_cross_entropy(logits, generator)

    def class_weights(self, counts: Sequence[int], images: int, given: Sequence[float] | None) -> tuple[float, ...]:
        """Scale the weights to a mean of 1 over the images; by default the classes are balanced."""
        if given is None:
            return tuple(images / (len(counts) * count) for count in counts)
        mean = sum(weight * count for weight, count in zip(given, counts, strict=True)) / images
        return tuple(weight / mean for weight in given)
