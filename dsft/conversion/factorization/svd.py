"""``svd``: the truncated singular value decomposition, the best data-free approximation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from dsft.choices import Structure
from dsft.conversion.factorization.factors import Factors
from dsft.conversion.factorization.spectrum import channel_slices, channel_spectrum
from dsft.conversion.factorization.weighting import Weighting
from dsft.separable import kernel_channels, kernel_ranks, swap_channels


def svd_factors(
    weight: Tensor,
    groups: int,
    kernels: Sequence[int],
    generator: Generator,  # noqa: ARG001 (nothing here is random)
    order: Structure = Structure.DW_PW,
    weighting: Weighting | None = None,
) -> Factors:
    r"""Keep the strongest singular directions of each channel's slice.

    :math:`d_{c,r} = v_r`, :math:`p_{c,r} = \sigma_r u_r = W_c v_r`; the squared error is the sum of the
    dropped :math:`\sigma^2` (Eckart & Young 1936; Guo et al. 2018, "Network Decoupling", §3).

    Args:
        weight: Dense kernel, ``(out_channels, in_channels / groups, *kernel_size)``.
        groups: Groups of the convolution.
        kernels: Depthwise kernels of each input channel (``dw_pw``) or output channel (``pw_dw``).
        generator: Unused: nothing here is random.
        order: Which convolution comes first.
        weighting: What a change of the kernel costs; None counts every number of it alike.

    Returns:
        Factors in the dtype and on the device of ``weight``.
    """
    spectrum = channel_spectrum(weight, groups, order, weighting)
    slices = channel_slices(weight, groups, order)
    channels, ranks = kernel_places(kernels, groups)
    depthwise = spectrum.directions[channels, ranks]
    # W_c v is exact whatever the accuracy of the singular values, so full rank gives W back. All products of a
    # channel are made at once: a copy of its slice for each kernel would take `rank` times the memory.
    points = (slices @ spectrum.duals.transpose(1, 2))[channels, :, ranks]
    pointwise = swap_channels(points, groups) if order is Structure.DW_PW else points
    kernel_size = weight.shape[2:]
    return Factors(
        depthwise.reshape(-1, 1, *kernel_size).to(weight),
        pointwise.reshape(*pointwise.shape, *(1 for _ in kernel_size)).to(weight),
    )


def kernel_places(kernels: Sequence[int], groups: int) -> tuple[Tensor, Tensor]:
    """Return the channel of each depthwise kernel, and its rank within the channel, both ``(kernels,)``."""
    channels = kernel_channels(kernels, len(kernels), groups)
    return torch.tensor(channels), torch.tensor(kernel_ranks(channels))
