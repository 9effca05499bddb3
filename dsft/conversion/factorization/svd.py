"""``svd``: the best approximation of the kernel, without data: by truncated singular value or CP decomposition."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from dsft.choices import Structure
from dsft.conversion.factorization.channel_svd import ChannelSpectrum, channel_slices, channel_spectrum
from dsft.conversion.factorization.cp_decomposition import decompose_groups
from dsft.conversion.factorization.factors import FactorizationMethod, Factors, LowRankFactors, PwDwPwFactors
from dsft.conversion.factorization.matrix_svd import truncated_matrices
from dsft.conversion.factorization.weighting import Weighting
from dsft.separable import kernel_channels, kernel_ranks, swap_channels


def svd_factors(
    weight: Tensor,
    groups: int,
    kernels: Sequence[int],
    generator: Generator,  # noqa: ARG001 (the signature of every method; nothing is random)
    order: Structure = Structure.DW_PW,
    weighting: Weighting | None = None,
    spectrum: ChannelSpectrum | None = None,
) -> Factors:
    r"""Truncate the singular value decomposition of each channel's slice of the kernel.

    With :math:`W_c = U \Sigma V^T`, the depthwise kernels are :math:`d_{c,r} = v_r` and the pointwise weights
    :math:`p_{c,r} = \sigma_r u_r = W_c v_r`; the squared error is the sum of the truncated :math:`\sigma^2`
    (Eckart & Young 1936; Guo et al. 2018, "Network Decoupling", §3).

    Args:
        weight: Dense kernel, ``(out_channels, in_channels / groups, *kernel_size)``.
        groups: Groups of the convolution.
        kernels: Depthwise kernels of each input channel (``dw_pw``) or output channel (``pw_dw``).
        generator: Not used.
        order: Which convolution comes first.
        weighting: Moments that weight the error; None for the plain squared error.
        spectrum: The decomposition of the kernel; None computes it here.

    Returns:
        Factors in the dtype and on the device of ``weight``.
    """
    if spectrum is None:
        spectrum = channel_spectrum(weight, groups, order, weighting)
    slices = channel_slices(weight, groups, order)
    channels, ranks = kernel_places(kernels, groups)
    depthwise = spectrum.directions[channels, ranks]
    # W_c v is exact regardless of the accuracy of the singular values, so full rank reproduces W. All products of a
    # channel are computed at once: a copy of its slice for each kernel would take `rank` times the memory.
    points = (slices @ spectrum.duals.transpose(1, 2))[channels, :, ranks]
    pointwise = swap_channels(points, groups) if order is Structure.DW_PW else points
    kernel_size = weight.shape[2:]
    return Factors(
        depthwise.reshape(-1, 1, *kernel_size).to(weight),
        pointwise.reshape(*pointwise.shape, *(1 for _ in kernel_size)).to(weight),
    )


def svd_low_rank(
    weight: Tensor,
    groups: int,
    rank: int,
    generator: Generator,  # noqa: ARG001 (the signature of every method; nothing is random)
    weighting: Weighting | None = None,
) -> LowRankFactors:
    r"""Truncate the singular value decomposition of each group's matrix :math:`W = U \Sigma V^T`.

    Each factor gets the square root of :math:`\Sigma`, so that both are trained at similar rates (Eckart & Young 1936).

    Args:
        weight: Dense 1x1 kernel, ``(out_channels, in_channels / groups, 1, ...)``.
        groups: Groups of the convolution.
        rank: Rank of each group.
        generator: Not used.
        weighting: Moments that weight the error; None for the plain squared error.

    Returns:
        Factors in the dtype and on the device of ``weight``.
    """
    first, second = truncated_matrices(weight, groups, rank, weighting)
    ones = (1,) * (weight.dim() - 2)
    return LowRankFactors(
        first.reshape(-1, first.shape[2], *ones).to(weight), second.reshape(-1, second.shape[2], *ones).to(weight)
    )


def decomposed_pw_dw_pw(
    weight: Tensor,
    groups: int,
    width: int,
    generator: Generator,  # noqa: ARG001 (the signature of every method; nothing is random)
    weighting: Weighting | None = None,
) -> PwDwPwFactors:
    """Decompose each group's kernel into ``width`` rank-one terms; see :mod:`.cp_decomposition`.

    Args:
        weight: Dense kernel, ``(out_channels, in_channels / groups, *kernel_size)``.
        groups: Groups of the convolution.
        width: Terms of each group.
        generator: Not used.
        weighting: Moments that weight the error; None for the plain squared error.

    Returns:
        Factors in the dtype and on the device of ``weight``.
    """
    kernel = weight.detach().to("cpu", torch.float64).flatten(2)
    factors = decompose_groups(kernel, groups, width, weighting)
    size, ones = weight.shape[2:], (1,) * (weight.dim() - 2)
    return PwDwPwFactors(
        factors.expand.reshape(*factors.expand.shape, *ones).to(weight),
        factors.depthwise.reshape(-1, 1, *size).to(weight),
        factors.project.reshape(*factors.project.shape, *ones).to(weight),
    )


def kernel_places(kernels: Sequence[int], groups: int) -> tuple[Tensor, Tensor]:
    """Return the channel of each depthwise kernel, and its rank within the channel, both ``(kernels,)``."""
    channels = kernel_channels(kernels, len(kernels), groups)
    return torch.tensor(channels), torch.tensor(kernel_ranks(channels))


SVD = FactorizationMethod(svd_factors, svd_low_rank, decomposed_pw_dw_pw)
