"""Losses against the logits of a teacher."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def distillation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return the KL divergence of the student's softened class distribution from the teacher's.

    ``T^2 * KL(softmax(teacher / T) || softmax(student / T))``, averaged over the batch (Hinton et al. 2015, "Distilling
    the Knowledge in a Neural Network", §2). The factor ``T^2`` keeps the size of the gradient independent of the
    temperature.

    Args:
        student_logits: Scores ``(batch, classes)``; half precision is computed in float32.
        teacher_logits: Scores ``(batch, classes)`` for the same images; no gradient flows into them.
        temperature: ``T``, above 0; larger values give softer distributions.

    Returns:
        A scalar, in nats.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    student = functional.log_softmax(student_logits.to(dtype) / temperature, dim=1)
    teacher = functional.log_softmax(teacher_logits.detach().to(dtype) / temperature, dim=1)
    return functional.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def binary_distillation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return the KL divergence of the student's softened label probabilities from the teacher's, for multi-label tasks.

    ``T^2 * KL(Bernoulli(sigmoid(teacher / T)) || Bernoulli(sigmoid(student / T)))``, averaged over batch and classes:
    :func:`distillation_loss` with a binary distribution for each class.

    Args:
        student_logits: Scores ``(batch, classes)``; half precision is computed in float32.
        teacher_logits: Scores ``(batch, classes)`` for the same images; no gradient flows into them.
        temperature: ``T``, above 0; larger values give softer distributions.

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
