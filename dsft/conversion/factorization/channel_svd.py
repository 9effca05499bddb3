"""The singular value decomposition of each channel's slice of a dense kernel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dsft.choices import Structure
from dsft.conversion.factorization.weighting import Weighting
from dsft.errors import ConversionError
from dsft.separable import swap_channels


@dataclass(frozen=True)
class ChannelSpectrum:
    """Squared singular values and singular vectors of each channel's slice of a kernel.

    The channels are input channels with ``dw_pw``, output channels with ``pw_dw``.

    Attributes:
        energies: Squared singular values of the (weighted) slices, descending, ``(channels, rank)``, float64; their
            sum is the squared norm of the (weighted) kernel.
        directions: The depthwise kernels, ``(channels, rank, kernel positions)``, float64.
        duals: The dual basis of the directions: a slice times these gives the pointwise weights. Of the same shape;
            without a weighting, the directions are orthonormal and these are the same.
    """

    energies: Tensor
    directions: Tensor
    duals: Tensor


def channel_slices(weight: Tensor, groups: int, order: Structure = Structure.DW_PW) -> Tensor:
    """Return the matrix of each input channel (``dw_pw``) or output channel (``pw_dw``) of a dense kernel.

    Args:
        weight: Dense kernel, ``(out_channels, in_channels / groups, *kernel_size)``.
        groups: Groups of the convolution.
        order: Which convolution comes first.

    Returns:
        The slices, ``(in_channels, out_channels / groups, kernel positions)`` or ``(out_channels,
        in_channels / groups, kernel positions)``, float64 on the CPU.
    """
    flat = weight.detach().to("cpu", torch.float64).flatten(2)
    return swap_channels(flat, groups) if order is Structure.DW_PW else flat


def channel_spectrum(
    weight: Tensor, groups: int, order: Structure = Structure.DW_PW, weighting: Weighting | None = None
) -> ChannelSpectrum:
    r"""Decompose each slice :math:`W_c = U \Sigma V^T` (Guo et al. 2018, "Network Decoupling", §3).

    Only :math:`\Sigma^2` and :math:`V` are computed, as the eigenpairs of the small Gram matrix :math:`W_c^T W_c` of
    ``kernel positions`` squared, which costs far less than the decomposition itself. With a weighting,
    :math:`F^{1/2} W_c S_c^{1/2}` is decomposed instead; the depthwise kernels are then :math:`V^T S_c^{-1/2}`.

    Args:
        weight: Dense kernel, ``(out_channels, in_channels / groups, *kernel_size)``.
        groups: Groups of the convolution.
        order: Which convolution comes first.
        weighting: Moments that weight the error; None for the plain squared error.

    Raises:
        ConversionError: The kernel holds NaN or infinite values.
    """
    slices = channel_slices(weight, groups, order)
    require_finite(slices)
    rank = min(slices.shape[1], slices.shape[2])
    if weighting is None:
        energies, directions = _leading_eigenpairs(slices.transpose(1, 2) @ slices, rank)
        return ChannelSpectrum(energies, directions, directions)
    root, inverse, rows = weighting.roots(order)
    weighted = slices @ root
    energies, rotated = _leading_eigenpairs(weighted.transpose(1, 2) @ _multiply(rows, weighted), rank)
    directions, duals = rotated @ inverse, rotated @ root
    # Only the product of both matters: depthwise kernels of norm 1 keep both in the range of any dtype.
    lengths = directions.norm(dim=2, keepdim=True)
    return ChannelSpectrum(energies, directions / lengths, duals * lengths)


def _multiply(rows: Tensor, slices: Tensor) -> Tensor:
    """Multiply the slices of each group by its matrix, in one product per group, since there are many slices."""
    groups, (channels, size, positions) = len(rows), slices.shape
    columns = slices.reshape(groups, -1, size, positions).transpose(1, 2).reshape(groups, size, -1)
    products = (rows @ columns).reshape(groups, size, -1, positions)
    return products.transpose(1, 2).reshape(channels, size, positions)


def _leading_eigenpairs(grams: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return the largest eigenvalues and their vectors, ``(channels, rank)`` and ``(channels, rank, positions)``."""
    values, vectors = torch.linalg.eigh(grams)
    # eigh sorts ascending; by rounding, zero eigenvalues may be slightly negative.
    return values.flip(-1)[:, :rank].clamp_min(0), vectors.flip(-1).transpose(1, 2)[:, :rank].contiguous()


def require_finite(kernel: Tensor) -> None:
    """Check that a kernel can be decomposed.

    Raises:
        ConversionError: It holds NaN or infinite values.
    """
    if not kernel.isfinite().all():
        raise ConversionError(
            "the weight holds NaN or infinite values, which cannot be factorized. Load an intact checkpoint, or "
            "exclude the layer."
        )
