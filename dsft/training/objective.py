"""The loss against the labels."""

from __future__ import annotations

from torch import Tensor

from dsft.tasks import LossOptions, Task


def label_loss(output: object, targets: Tensor, options: LossOptions, weights: Tensor | None, task: Task) -> Tensor:
    """Return the task's loss against the targets, plus the weighted loss of each auxiliary head.

    Args:
        output: What the network returned for a batch.
        targets: Targets of the task, or shares of the classes ``(batch, classes)`` after mixup or CutMix.
        options: The options of the loss.
        weights: Weight of each class ``(classes,)``, or None for 1.
        task: Defines the loss.

    Returns:
        A scalar.
    """
    objective = task.objective
    main, auxiliary = task.codec.split_outputs(output)
    loss = objective.label_loss(main, targets, options, weights)
    for extra in auxiliary:
        loss = loss + objective.auxiliary_weight * objective.label_loss(extra, targets, options, weights)
    return loss
