"""Losses against labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def soft_cross_entropy(
    logits: Tensor, targets: Tensor, *, smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Return the mean cross entropy of logits against hard or soft labels.

    With label smoothing (Szegedy et al. 2016, "Rethinking the Inception Architecture", eq. 7) the label keeps a
    probability of ``1 - smoothing``, and the rest is distributed evenly over all classes.

    With class weights the loss of an image is ``-sum_c w_c t_c log p_c``, averaged over the images. For class numbers
    torch would divide by the sum of the weights of the labels instead; the loss of a batch would then not be the mean
    of the losses of its parts.

    Args:
        logits: Scores ``(batch, classes)``; half precision is computed in float32.
        targets: Class numbers ``(batch,)`` of an integer type, or probabilities ``(batch, classes)``.
        smoothing: Probability that is distributed over all classes, 0 to 1.
        weights: Weight of each class ``(classes,)``, or None for 1.

    Returns:
        A scalar, in nats.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if weights is not None:
        weights = weights.to(logits.dtype)
        targets = targets if targets.is_floating_point() else functional.one_hot(targets, logits.shape[1]).float()
    if targets.is_floating_point():
        targets = targets.to(logits.dtype)
    return functional.cross_entropy(logits, targets, weight=weights, label_smoothing=smoothing)


def binary_cross_entropy(
    logits: Tensor, targets: Tensor, *, smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Return the mean binary cross entropy over images and classes, for multi-label tasks.

    With ``p = sigmoid(logit)`` the loss of a label is ``-(w_c t log p + (1 - t) log(1 - p))``. Smoothing changes a
    target ``t`` to ``(1 - smoothing) t + smoothing / 2``.

    Args:
        logits: Scores ``(batch, classes)``; half precision is computed in float32.
        targets: Labels 0 or 1, or probabilities, ``(batch, classes)``.
        smoothing: 0 to 1.
        weights: Weight of the positive label of each class ``(classes,)``, or None for 1.

    Returns:
        A scalar, in nats.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    targets = (1 - smoothing) * targets.to(logits.dtype) + smoothing / 2
    weights = weights.to(logits.dtype) if weights is not None else None
    return functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights)
