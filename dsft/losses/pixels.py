"""Losses for a class per pixel, and for images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_DICE_SMOOTHING = 1.0  # pixels


def pixel_cross_entropy(
    logits: Tensor, targets: Tensor, *, no_class: int, smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Return the cross entropy of each image: the mean over its pixels with a class; 0 without any.

    Args:
        logits: ``(batch, classes, height, width)``; half precision is computed in float32.
        targets: Class indices ``(batch, height, width)``, int64.
        no_class: The value of pixels without a class.
        smoothing: Label smoothing, 0 to 1.
        weights: Weight of each class ``(classes,)``, or None for 1.

    Returns:
        ``(batch,)``, in nats.
    """
    logits = _at_least_float32(logits)
    weights = weights.to(logits.dtype) if weights is not None else None
    losses = functional.cross_entropy(
        logits, targets, weight=weights, ignore_index=no_class, label_smoothing=smoothing, reduction="none"
    )
    counts = (targets != no_class).flatten(1).sum(1)
    return losses.flatten(1).sum(1) / counts.clamp_min(1)


def dice_loss(logits: Tensor, targets: Tensor, *, no_class: int) -> Tensor:
    """Return one minus the soft Dice coefficient of each image, averaged over the classes in its mask.

    The coefficient of a class is ``(2 sum(p g) + 1) / (sum(p) + sum(g) + 1)``, with the probability ``p`` and the
    ground truth ``g`` of each pixel (Milletari et al. 2016, "V-Net", with the sums in the denominator not squared).

    Args:
        logits: ``(batch, classes, height, width)``; half precision is computed in float32.
        targets: Class indices ``(batch, height, width)``, int64.
        no_class: The value of pixels without a class, which are left out.

    Returns:
        ``(batch,)``, 0 to 1.
    """
    probabilities = _at_least_float32(logits).softmax(1)
    has_class = (targets != no_class)[:, None]
    truth = functional.one_hot(targets.where(targets != no_class, 0), logits.shape[1]).movedim(-1, 1)
    truth, probabilities = truth * has_class, probabilities * has_class
    common = (probabilities * truth).flatten(2).sum(2)
    total = (probabilities + truth).flatten(2).sum(2)
    coefficients = (2 * common + _DICE_SMOOTHING) / (total + _DICE_SMOOTHING)
    occurs = truth.flatten(2).any(2)
    return (occurs * (1 - coefficients)).sum(1) / occurs.sum(1).clamp_min(1)


def pixel_distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return ``T^2 KL(teacher || student)`` of the softened class distributions, averaged over all pixels.

    Args:
        student: Logits ``(batch, classes, height, width)``.
        teacher: Logits in the same shape.
        temperature: ``T``, by which logits are divided (Hinton et al. 2015).
    """
    expected = (_at_least_float32(teacher) / temperature).log_softmax(1)
    found = (_at_least_float32(student) / temperature).log_softmax(1)
    divergence = functional.kl_div(found, expected, reduction="none", log_target=True).sum(1)
    return divergence.mean() * temperature**2


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
