"""The factors by which one kernel is another, for each output channel."""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDING = 2e-6
"""Accepted difference relative to the largest weight of a channel. In half precision it is that of its rounding."""


def channel_factors(kernel: Tensor, rescaled: Tensor) -> Tensor | None:
    """Return the factor of each output channel, or None if a kernel is not a rescaled copy of the other.

    Fusers of batch norms multiply a convolution's kernel by one factor for each output channel. The factor is that of
    least squares; what remains must be rounding.

    Args:
        kernel: ``(out_channels, in_channels / groups, *kernel_size)``.
        rescaled: A kernel that may be a rescaled copy of it.

    Returns:
        ``(out_channels,)``, float64, on the CPU. The factor of a channel of zeros is 1.
    """
    if rescaled.shape != kernel.shape:
        return None
    before, after = (each.detach().as_subclass(Tensor).cpu().double().flatten(1) for each in (kernel, rescaled))
    energy = before.square().sum(1)
    factors = torch.where(energy > 0, (before * after).sum(1) / energy, 1.0)
    rest = (after - factors.unsqueeze(1) * before).abs().amax(1)
    tolerance = max(_ROUNDING, 2 * torch.finfo(rescaled.dtype).eps)
    # A comparison with NaN is false.
    is_copy = bool((rest <= tolerance * after.abs().amax(1)).all())
    return factors if is_copy and bool(factors.isfinite().all()) else None
