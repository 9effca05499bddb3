"""The loss of one training step."""

from __future__ import annotations

from torch import Tensor

from dsft.errors import ModelError
from dsft.losses import distillation_loss, soft_cross_entropy
from dsft.tasks import split_outputs
from dsft.training.settings import DistillSettings

AUXILIARY_WEIGHT = 0.3
"""Weight of each auxiliary head: Szegedy et al. 2015 (Going Deeper with Convolutions, section 5)."""


def label_loss(output: object, targets: Tensor, smoothing: float) -> Tensor:
    """Return the cross entropy against the labels, auxiliary heads included with weight 0.3 each.

    Args:
        output: What the network returned for a batch.
        targets: Class numbers ``(batch,)``, or probabilities ``(batch, classes)``.
        smoothing: Label smoothing, 0 to 1.

    Returns:
        A scalar, in nats.
    """
    logits, auxiliary = split_outputs(output)
    loss = soft_cross_entropy(logits, targets, smoothing=smoothing)
    for extra in auxiliary:
        loss = loss + AUXILIARY_WEIGHT * soft_cross_entropy(extra, targets, smoothing=smoothing)
    return loss


def blend_teacher(labels: Tensor, output: object, teacher_output: object, distill: DistillSettings) -> Tensor:
    """Return ``(1 - w) * labels + w * teacher`` of Hinton et al. 2015, with the main logits of both networks.

    Args:
        labels: The loss against the labels, a scalar.
        output: What the network returned for a batch.
        teacher_output: What the teacher returned for the same images.
        distill: The weight ``w`` and the temperature.

    Raises:
        ModelError: The teacher has another number of classes.
    """
    student, _ = split_outputs(output)
    teacher, _ = split_outputs(teacher_output)
    if student.shape != teacher.shape:
        raise ModelError(
            f"distill.teacher: must know the task's {student.shape[1]} classes, found {teacher.shape[1]} "
            "outputs. Use a teacher that was trained on this data, such as distill.teacher=runs/dense/model."
        )
    softened = distillation_loss(student, teacher, distill.temperature)
    return (1 - distill.logits) * labels + distill.logits * softened
