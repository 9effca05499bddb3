"""The singular value decomposition of each channel's slice of a dense kernel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dsft.choices import Order
from dsft.errors import ConversionError
from dsft.separable import swap_channels


@dataclass(frozen=True)
class Spectrum:
    """How much of a kernel each depthwise kernel holds, channel by channel.

    The channels are those of the input with ``dw_pw``, those of the output with ``pw_dw``.

    Attributes:
        energies: Squared singular values of the slices, descending, ``(channels, rank)``, float64; their
            sum is the squared Frobenius norm of the kernel.
        directions: Right singular vectors, ``(channels, rank, kernel positions)``, float64: the depthwise
            kernels, orthonormal within a channel.
    """

    energies: Tensor
    directions: Tensor


def channel_slices(weight: Tensor, groups: int, order: Order = Order.DW_PW) -> Tensor:
    """Cut a dense kernel into one matrix for each input channel (``dw_pw``) or output channel (``pw_dw``).

    Args:
        weight: Dense kernel, ``(out_channels, in_channels / groups, *kernel_size)``.
        groups: Groups of the convolution.
        order: Which convolution comes first.

    Returns:
        The slices, ``(in_channels, out_channels / groups, kernel positions)`` or ``(out_channels,
        in_channels / groups, kernel positions)``, float64 on the CPU.
    """
    flat = weight.detach().to("cpu", torch.float64).flatten(2)
    return swap_channels(flat, groups) if order is Order.DW_PW else flat


def channel_spectrum(weight: Tensor, groups: int, order: Order = Order.DW_PW) -> Spectrum:
    r"""Decompose each slice :math:`W_c = U \Sigma V^T` (Guo et al. 2018, "Network Decoupling", §3).

    Only :math:`\Sigma^2` and :math:`V` are needed: they are the eigenpairs of the small Gram matrix
    :math:`W_c^T W_c` of ``kernel positions`` squared, which is far cheaper than the decomposition itself.

    Args:
        weight: Dense kernel, ``(out_channels, in_channels / groups, *kernel_size)``.
        groups: Groups of the convolution.
        order: Which convolution comes first.

    Raises:
        ConversionError: The weight holds NaN or infinite values.
    """
    slices = channel_slices(weight, groups, order)
    require_finite(slices)
    energies, directions = torch.linalg.eigh(slices.transpose(1, 2) @ slices)
    rank = min(slices.shape[1], slices.shape[2])
    # eigh sorts ascending; rounding may leave a null space slightly negative.
    return Spectrum(
        energies.flip(-1)[:, :rank].clamp_min(0), directions.flip(-1).transpose(1, 2)[:, :rank].contiguous()
    )


def require_finite(kernel: Tensor) -> None:
    """Check that a kernel can be decomposed.

    Raises:
        ConversionError: It holds NaN or infinite values.
    """
    if not kernel.isfinite().all():
        raise ConversionError(
            "the weight holds NaN or infinite values, which no separable layer can stand for. Load a sound "
            "checkpoint, or exclude the layer."
        )
