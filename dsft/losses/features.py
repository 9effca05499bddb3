"""The loss against a teacher's feature maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def feature_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Return how far a network's feature maps are from another's, relative to the size of the latter.

    The mean over maps and images of ``||student - teacher||^2 / ||teacher||^2``: a hint (Romero et al. 2015, FitNets,
    equation 3) at every layer, with weights that let large maps and small ones count alike. It is 0 for equal maps,
    and 1 for maps of zeros. As a mean over images, that of a batch is that of its parts.

    Args:
        student: Feature maps, each ``(batch, channels, ...)``; half precision is computed in float32.
        teacher: Maps of the same shapes for the same images; no gradient flows into them. One of zeros, which no
            other is near to or far from, counts as met.

    Returns:
        A scalar, without a unit.
    """
    errors = [_relative_error(ours, theirs.detach()) for ours, theirs in zip(student, teacher, strict=True)]
    return torch.stack(errors).mean()


def _relative_error(student: Tensor, teacher: Tensor) -> Tensor:
    dtype = torch.promote_types(student.dtype, torch.float32)
    student, teacher = student.to(dtype), teacher.to(dtype)
    energy = teacher.square().flatten(1).sum(1)
    errors = (student - teacher).square().flatten(1).sum(1)
    return torch.where(energy > 0, errors / energy.clamp_min(torch.finfo(dtype).tiny), 0).mean()
