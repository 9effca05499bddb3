"""How the loss on the teacher's logits and feature maps is combined with that on the labels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dsft.errors import ModelError
from dsft.losses import feature_loss
from dsft.tasks import Task
from dsft.training.settings import DistillSettings


def blend_logits_loss(
    labels: Tensor, output: object, teacher_output: object, distill: DistillSettings, task: Task
) -> Tensor:
    """Return ``(1 - w) * labels + w * teacher`` of Hinton et al. 2015, computed on the main logits of both networks.

    With ``w = 0`` the teacher's logits are not used: it need not know the task.

    Args:
        labels: The loss against the labels, a scalar.
        output: What the network returned for a batch.
        teacher_output: What the teacher returned for the same images.
        distill: The weight ``w`` and the temperature.
        task: Defines the loss against the teacher's logits.

    Raises:
        ModelError: The teacher has another number of classes.
    """
    if distill.logits == 0:
        return labels
    student, _ = task.codec.split_outputs(output)
    teacher, _ = task.codec.split_outputs(teacher_output)
    if student.shape != teacher.shape:
        raise ModelError(
            f"distill.teacher: must know the task's {student.shape[1]} classes, found {teacher.shape[1]} "
            "outputs. Use a teacher that was trained on this data, such as distill.teacher=runs/dense/model."
        )
    softened = task.objective.distillation_loss(student, teacher, distill.temperature)
    return (1 - distill.logits) * labels + distill.logits * softened


def add_feature_loss(
    loss: Tensor, student: Sequence[Tensor], teacher: Sequence[Tensor], distill: DistillSettings
) -> Tensor:
    """Return the loss plus the weighted distance between the feature maps.

    Args:
        loss: The loss on labels and logits, a scalar.
        student: Outputs of the compared layers of the network, in the order of execution.
        teacher: Those of the teacher for the same images.
        distill: The weight.

    Raises:
        ModelError: The two networks ran different layers, or the shapes of their maps differ.
    """
    if distill.features == 0:
        return loss
    shapes, expected = ([tuple(part.shape) for part in maps] for maps in (student, teacher))
    if shapes != expected:
        raise ModelError(
            f"distill.features: both networks must run the same layers with maps of the same shapes, found {shapes} "
            f"and {expected}. Use the network before its conversion as the teacher, or set distill.features=0."
        )
    return loss + distill.features * feature_loss(student, teacher)
