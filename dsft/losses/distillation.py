"""The loss against a teacher."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def distillation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return how far the student's softened distribution is from the teacher's.

    ``T^2 * KL(softmax(teacher / T) || softmax(student / T))``, the mean over the batch: Hinton et al. 2015
    (Distilling the Knowledge in a Neural Network, section 2), with their factor ``T^2`` that keeps the size
    of the gradient alike for every temperature.

    Args:
        student_logits: Scores ``(batch, classes)``; half precision is computed in float32.
        teacher_logits: Scores ``(batch, classes)`` for the same images; no gradient flows into them.
        temperature: ``T``, above 0; larger is softer.

    Returns:
        A scalar, in nats.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    student = functional.log_softmax(student_logits.to(dtype) / temperature, dim=1)
    teacher = functional.log_softmax(teacher_logits.detach().to(dtype) / temperature, dim=1)
    return functional.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def binary_distillation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return how far the student's softened decisions are from the teacher's, where every class is one of its own.

    ``T^2 * KL(Bernoulli(sigmoid(teacher / T)) || Bernoulli(sigmoid(student / T)))``, the mean over batch and classes:
    :func:`distillation_loss` with two outcomes, yes and no, for every class.

    Args:
        student_logits: Scores ``(batch, classes)``; half precision is computed in float32.
        teacher_logits: Scores ``(batch, classes)`` for the same images; no gradient flows into them.
        temperature: ``T``, above 0; larger is softer.

    Returns:
        A scalar, in nats.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    student, teacher = student_logits.to(dtype) / temperature, teacher_logits.detach().to(dtype) / temperature
    outcomes = ((student, teacher), (-student, -teacher))
    divergence = sum(
        theirs.sigmoid() * (functional.logsigmoid(theirs) - functional.logsigmoid(ours)) for ours, theirs in outcomes
    )
    return torch.as_tensor(divergence).mean() * temperature**2
