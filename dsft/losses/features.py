"""The loss against the feature maps of a teacher."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def feature_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Return the relative squared error of the student's feature maps.

    The mean over maps and images of ``||student - teacher||^2 / ||teacher||^2``: a hint loss (Romero et al. 2015,
    "FitNets", eq. 3) at every layer, normalised so that maps of different sizes count equally. It is 0 for equal maps
    and 1 for maps of zeros. The loss of a batch is the mean of the losses of its images.

    Args:
        student: Feature maps, each ``(batch, channels, ...)``; half precision is computed in float32.
        teacher: Maps of the same shapes for the same images; no gradient flows into them. A map of zeros has no
            relative error and counts as 0.

    Returns:
        A dimensionless scalar.
    """
    errors = [_relative_error(ours, theirs.detach()) for ours, theirs in zip(student, teacher, strict=True)]
    return torch.stack(errors).mean()


def _relative_error(student: Tensor, teacher: Tensor) -> Tensor:
    dtype = torch.promote_types(student.dtype, torch.float32)
    student, teacher = student.to(dtype), teacher.to(dtype)
    energy = teacher.square().flatten(1).sum(1)
    errors = (student - teacher).square().flatten(1).sum(1)
    return torch.where(energy > 0, errors / energy.clamp_min(torch.finfo(dtype).tiny), 0).mean()
