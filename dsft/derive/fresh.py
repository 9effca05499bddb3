"""``fresh``: random weights, for training from scratch and as the control of every other method."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from dsft.derive.factors import Factors


def fresh_factors(weight: Tensor, groups: int, kernels: Sequence[int], generator: Generator) -> Factors:
    """Draw both factors so that the layer keeps the variance that a ReLU needs.

    The depthwise convolution is linear and keeps the variance of its input (gain 1, LeCun et al. 1998); the
    pointwise one has gain sqrt 2 (He et al. 2015, "Delving Deep into Rectifiers", eq. 10).

    Args:
        weight: Dense kernel, ``(out_channels, in_channels / groups, *kernel_size)``: its shape alone counts.
        groups: Groups of the convolution.
        kernels: Depthwise kernels of each input channel.
        generator: Source of the random numbers, on the CPU.

    Returns:
        Factors in the dtype and on the device of ``weight``.
    """
    total, kernel_size = sum(kernels), weight.shape[2:]
    fan_in = total // groups
    depthwise = torch.randn(total, 1, *kernel_size, generator=generator) / math.sqrt(math.prod(kernel_size))
    ones = (1 for _ in kernel_size)
    pointwise = torch.randn(weight.shape[0], fan_in, *ones, generator=generator) * math.sqrt(2 / fan_in)
    return Factors(depthwise.to(weight), pointwise.to(weight))
