"""``fresh``: random weights, for training from scratch and as the baseline of every other method."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from dsft.choices import Structure
from dsft.conversion.factorization.channel_svd import ChannelSpectrum
from dsft.conversion.factorization.factors import FactorizationMethod, Factors, LowRankFactors, PwDwPwFactors
from dsft.conversion.factorization.weighting import Weighting
from dsft.separable import kernel_channels


def fresh_factors(
    weight: Tensor,
    groups: int,
    kernels: Sequence[int],
    generator: Generator,
    order: Structure = Structure.DW_PW,
    weighting: Weighting | None = None,  # noqa: ARG001 (the signature of every method; no weight is kept)
    spectrum: ChannelSpectrum | None = None,  # noqa: ARG001 (the same)
) -> Factors:
    """Draw both factors of a depthwise-separable layer with the variance of a convolution before a ReLU.

    The first convolution is linear and preserves the variance of its input (gain 1, LeCun et al. 1998, "Efficient
    BackProp", §4.6); the second has gain sqrt 2 (He et al. 2015, "Delving Deep into Rectifiers", eq. 10). With
    ``pw_dw`` the second one sums over all kernels of an output channel.

    Args:
        weight: Dense kernel, ``(out_channels, in_channels / groups, *kernel_size)``; only its shape is used.
        groups: Groups of the convolution.
        kernels: Depthwise kernels of each channel.
        generator: Random generator on the CPU.
        order: Which convolution comes first.
        weighting: Not used.
        spectrum: Not used.

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


def fresh_low_rank(
    weight: Tensor,
    groups: int,
    rank: int,
    generator: Generator,
    weighting: Weighting | None = None,  # noqa: ARG001 (the signature of every method; no weight is kept)
) -> LowRankFactors:
    """Draw both factors of a low-rank layer; see :func:`fresh_factors` for their variances.

    Args:
        weight: Dense 1x1 kernel, ``(out_channels, in_channels / groups, 1, ...)``; only its shape is used.
        groups: Groups of the convolution.
        rank: Rank of each group.
        generator: Random generator on the CPU.
        weighting: Not used.

    Returns:
        Factors in the dtype and on the device of ``weight``.
    """
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    ones = (1,) * (weight.dim() - 2)
    first = torch.randn(groups, rank, inputs, generator=generator) / math.sqrt(inputs)
    second = torch.randn(groups, outputs, rank, generator=generator) * math.sqrt(2 / rank)
    return LowRankFactors(first.reshape(-1, inputs, *ones).to(weight), second.reshape(-1, rank, *ones).to(weight))


def fresh_pw_dw_pw(
    weight: Tensor,
    groups: int,
    width: int,
    generator: Generator,
    weighting: Weighting | None = None,  # noqa: ARG001 (the signature of every method; no weight is kept)
) -> PwDwPwFactors:
    """Draw the factors of a pointwise-depthwise-pointwise layer; see :func:`fresh_factors` for their variances.

    Args:
        weight: Dense kernel, ``(out_channels, in_channels / groups, *kernel_size)``; only its shape is used.
        groups: Groups of the convolution.
        width: Depthwise kernels of each group.
        generator: Random generator on the CPU.
        weighting: Not used.

    Returns:
        Factors in the dtype and on the device of ``weight``.
    """
    size = weight.shape[2:]
    ones, total = (1,) * len(size), groups * width
    expand = torch.randn(total, weight.shape[1], *ones, generator=generator) / math.sqrt(weight.shape[1])
    depthwise = torch.randn(total, 1, *size, generator=generator) / math.sqrt(math.prod(size))
    project = torch.randn(weight.shape[0], width, *ones, generator=generator) * math.sqrt(2 / width)
    return PwDwPwFactors(expand.to(weight), depthwise.to(weight), project.to(weight))


FRESH = FactorizationMethod(fresh_factors, fresh_low_rank, fresh_pw_dw_pw, keeps_weights=False)
