"""The loss functions of segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Generator, Tensor

from dsft.choices import NO_CLASS
from dsft.errors import ModelError
from dsft.losses import dice_loss, pixel_cross_entropy, pixel_distillation_loss, sampled_pixel_cross_entropy
from dsft.tasks.task import LossOptions


class SegmentationObjective:
    """Implements :class:`dsft.tasks.Objective`."""

    auxiliary_weight: ClassVar = 0.5  # as in torchvision's reference training

    def label_loss(self, outputs: Tensor, targets: Tensor, options: LossOptions, weights: Tensor | None) -> Tensor:
        """Return the cross entropy plus the weighted Dice loss, each averaged over the images."""
        if outputs.shape[2:] != targets.shape[1:]:
            raise ModelError(
                "output of the model: logits of a segmentation network must have the size of the image, found "
                f"{tuple(outputs.shape[2:])} for masks of {tuple(targets.shape[1:])}. Let the network enlarge them."
            )
        loss = pixel_cross_entropy(outputs, targets, no_class=NO_CLASS, smoothing=options.smoothing, weights=weights)
        if options.dice:
            loss = loss + options.dice * dice_loss(outputs, targets, no_class=NO_CLASS)
        return loss.mean()

    def distillation_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return the softened Kullback-Leibler divergence of each pixel, averaged."""
        return pixel_distillation_loss(student, teacher, temperature)

    def sampled_loss(self, outputs: Tensor, generator: Generator) -> Tensor:
        """Return the cross entropy with respect to one sampled class per pixel."""
        return sampled_pixel_cross_entropy(outputs, generator)

    def class_weights(self, counts: Sequence[int], images: int, given: Sequence[float] | None) -> tuple[float, ...]:
        """Return the given weights; the numbers of pixels are not known before the masks are read."""
        del images
        return tuple(given) if given is not None else (1.0,) * len(counts)
