"""The loss of one training step."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dsft.errors import ModelError
from dsft.losses import feature_loss
from dsft.tasks import CLASSIFICATION, Task, split_outputs
from dsft.training.settings import DistillSettings

AUXILIARY_WEIGHT = 0.3
"""Weight of each auxiliary head: Szegedy et al. 2015 (Going Deeper with Convolutions, section 5)."""


def label_loss(
    output: object, targets: Tensor, smoothing: float, weights: Tensor | None = None, task: Task = CLASSIFICATION
) -> Tensor:
    """Return the task's loss against the labels, auxiliary heads included with weight 0.3 each.

    Args:
        output: What the network returned for a batch.
        targets: The labels, as the task has them, or blended ones ``(batch, classes)``.
        smoothing: Label smoothing, 0 to 1.
        weights: Weight of each class ``(classes,)``, or None for 1.
        task: Whose loss.

    Returns:
        A scalar, in nats.
    """
    logits, auxiliary = split_outputs(output)
    loss = task.label_loss(logits, targets, smoothing, weights)
    for extra in auxiliary:
        loss = loss + AUXILIARY_WEIGHT * task.label_loss(extra, targets, smoothing, weights)
    return loss


def blend_teacher(
    labels: Tensor, output: object, teacher_output: object, distill: DistillSettings, task: Task = CLASSIFICATION
) -> Tensor:
    """Return ``(1 - w) * labels + w * teacher`` of Hinton et al. 2015, with the main logits of both networks.

    Where the weight is 0 the teacher's logits are not looked at: it need not know the task.

    Args:
        labels: The loss against the labels, a scalar.
        output: What the network returned for a batch.
        teacher_output: What the teacher returned for the same images.
        distill: The weight ``w`` and the temperature.
        task: What the logits of both mean.

    Raises:
        ModelError: The teacher has another number of classes.
    """
    if distill.logits == 0:
        return labels
    student, _ = split_outputs(output)
    teacher, _ = split_outputs(teacher_output)
    if student.shape != teacher.shape:
        raise ModelError(
            f"distill.teacher: must know the task's {student.shape[1]} classes, found {teacher.shape[1]} "
            "outputs. Use a teacher that was trained on this data, such as distill.teacher=runs/dense/model."
        )
    softened = task.teacher_loss(student, teacher, distill.temperature)
    return (1 - distill.logits) * labels + distill.logits * softened


def add_features(
    loss: Tensor, student: Sequence[Tensor], teacher: Sequence[Tensor], distill: DistillSettings
) -> Tensor:
    """Return the loss with the weighted distance of the feature maps added.

    Args:
        loss: What labels and logits cost, a scalar.
        student: Outputs of the network's layers that are compared, in the order in which they ran.
        teacher: Those of the teacher for the same images.
        distill: The weight.

    Raises:
        ModelError: The two networks ran other layers, or their maps have other shapes.
    """
    if distill.features == 0:
        return loss
    shapes, taught = ([tuple(part.shape) for part in maps] for maps in (student, teacher))
    if shapes != taught:
        raise ModelError(
            f"distill.features: both networks must run the same layers with maps of the same shapes, found {shapes} "
            f"and {taught}. Take the network before its conversion as the teacher, or set distill.features=0."
        )
    return loss + distill.features * feature_loss(student, teacher)
