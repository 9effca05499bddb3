"""The loss against labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def soft_cross_entropy(
    logits: Tensor, targets: Tensor, *, smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Return the mean cross entropy of logits against hard or soft labels.

    Label smoothing as in Szegedy et al. 2016 (Rethinking the Inception Architecture, equation 7): the
    label keeps ``1 - smoothing``, the rest is spread evenly over all classes.

    With class weights an image's loss is ``-sum_c w_c t_c log p_c`` and the mean is over the images. torch would
    divide by the weights of the labels where these are numbers; then parts of a batch would not add up to the whole.

    Args:
        logits: Scores ``(batch, classes)``; half precision is computed in float32.
        targets: Class numbers ``(batch,)`` of an integer type, or probabilities ``(batch, classes)``.
        smoothing: Share of each label that is spread, 0 to 1.
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
    """Return the mean cross entropy of independent decisions, one for each class.

    With ``p = sigmoid(logit)`` a decision costs ``-(w_c t log p + (1 - t) log(1 - p))``. Smoothing moves a target
    towards the two outcomes alike, from ``t`` to ``(1 - smoothing) t + smoothing / 2``.

    Args:
        logits: Scores ``(batch, classes)``; half precision is computed in float32.
        targets: Whether each class is there, or the share of it, 0 to 1, ``(batch, classes)``.
        smoothing: 0 to 1.
        weights: Weight of the positive outcome of each class ``(classes,)``, or None for 1.

    Returns:
        A scalar, in nats: the mean over images and classes.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    targets = (1 - smoothing) * targets.to(logits.dtype) + smoothing / 2
    weights = weights.to(logits.dtype) if weights is not None else None
    return functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights)
