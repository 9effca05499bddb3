"""``fresh``: random weights, for training from scratch and as the control of every other method."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from dsft.choices import Structure
from dsft.conversion.factorization.factors import Factors
from dsft.conversion.factorization.weighting import Weighting
from dsft.separable import kernel_channels


def fresh_factors(
    weight: Tensor,
    groups: int,
    kernels: Sequence[int],
    generator: Generator,
    order: Structure = Structure.DW_PW,
    weighting: Weighting | None = None,  # noqa: ARG001 (no weight is kept whose change could cost anything)
) -> Factors:
    """Draw both factors so that the layer keeps the variance that a ReLU needs.

    The first convolution is linear and keeps the variance of its input (gain 1, LeCun et al. 1998); the second
    has gain sqrt 2 (He et al. 2015, "Delving Deep into Rectifiers", eq. 10). With ``pw_dw`` the second one sums
    over all kernels of an output channel.

    Args:
        weight: Dense kernel, ``(out_channels, in_channels / groups, *kernel_size)``: its shape alone counts.
        groups: Groups of the convolution.
        kernels: Depthwise kernels of each channel.
        generator: Source of the random numbers, on the CPU.
        order: Which convolution comes first.
        weighting: Unused: no weight is kept whose change could cost anything.

    Returns:
        Factors in the dtype and on the device of ``weight``.
    """
    total, kernel_size = sum(kernels), weight.shape[2:]
    ones, positions = (1,) * len(kernel_size), math.prod(kernel_size)
    depthwise = torch.randn(total, 1, *kernel_size, generator=generator) / math.sqrt(positions)
    if order is Structure.DW_PW:
        fan_in = total // groups
        pointwise = torch.randn(weight.shape[0], fan_in, *ones, generator=generator) * math.sqrt(2 / fan_in)
    else:
        summed = torch.tensor(kernels)[kernel_channels(kernels, len(kernels), groups)]
        depthwise *= (2 / summed).sqrt().reshape(-1, 1, *ones)
        pointwise = torch.randn(total, weight.shape[1], *ones, generator=generator) / math.sqrt(weight.shape[1])
    return Factors(depthwise.to(weight), pointwise.to(weight))
