"""The loss against the labels."""

from __future__ import annotations

from torch import Tensor

from dsft.tasks import Task, split_outputs

AUXILIARY_WEIGHT = 0.3
"""Weight of each auxiliary head: Szegedy et al. 2015 (Going Deeper with Convolutions, section 5)."""


def label_loss(output: object, targets: Tensor, smoothing: float, weights: Tensor | None, task: Task) -> Tensor:
    """Return the task's loss against the labels, plus 0.3 times that of each auxiliary head.

    Args:
        output: What the network returned for a batch.
        targets: Targets of the task, or shares of the classes ``(batch, classes)`` after mixup or CutMix.
        smoothing: Label smoothing, 0 to 1.
        weights: Weight of each class ``(classes,)``, or None for 1.
        task: Defines the loss.

    Returns:
        A scalar, in nats.
    """
    logits, auxiliary = split_outputs(output)
    loss = task.objective.label_loss(logits, targets, smoothing, weights)
    for extra in auxiliary:
        loss = loss + AUXILIARY_WEIGHT * task.objective.label_loss(extra, targets, smoothing, weights)
    return loss
