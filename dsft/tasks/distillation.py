"""``dsft.distillation_loss``: the loss against a teacher's outputs, for any training loop."""

from __future__ import annotations

from torch import Tensor

from dsft.choices import TaskName
from dsft.errors import ModelError, did_you_mean
from dsft.tasks import task_named


def distillation_loss(
    student_output: object, teacher_output: object, *, temperature: float = 2.0, task: str = TaskName.CLASSIFICATION
) -> Tensor:
    """Return how far what a student returned is from what its teacher returned for the same inputs.

    It is what a recipe's ``distill.logits`` weighs: for classes the softened Kullback-Leibler divergence (Hinton et al.
    2015, "Distilling the Knowledge in a Neural Network", §2), times the squared temperature; for ``multi_label`` that
    of each label, for ``segmentation`` that of each pixel; for ``restoration`` the mean squared difference. Add it to
    the loss on the labels, or use it alone without labels.

    Args:
        student_output: What the student returned: a tensor, or a named tuple or dict with the entry ``logits`` or
            ``out``, as networks of transformers and torchvision return them.
        teacher_output: What the teacher returned; no gradient flows into it. Run it under ``torch.no_grad()``.
        temperature: Above 0; larger values give softer distributions.
        task: What the outputs mean: ``classification``, ``multi_label``, ``segmentation`` or ``restoration``.

    Returns:
        A scalar.

    Raises:
        ModelError: The outputs are none of the task, or their shapes differ.
        ValueError: The temperature is not above 0.
    """
    if task not in list(TaskName):
        raise ModelError(f"task: expected one of {', '.join(TaskName)}, found {task!r}.{did_you_mean(task, TaskName)}")
    if not temperature > 0:
        raise ValueError(f"temperature: expected a number above 0, found {temperature!r}")
    parts = task_named(TaskName(task))
    (student, _), (teacher, _) = map(parts.codec.split_outputs, (student_output, teacher_output))
    if student.shape != teacher.shape:
        raise ModelError(
            f"distillation_loss: student and teacher must return outputs of one shape, found {tuple(student.shape)} "
            f"and {tuple(teacher.shape)}. Use a teacher of the same classes, and the same inputs for both."
        )
    return parts.objective.distillation_loss(student, teacher.detach(), temperature)
