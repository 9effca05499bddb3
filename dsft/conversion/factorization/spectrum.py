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
class Spectrum:
    """How much of a kernel each depthwise kernel holds, channel by channel.

    The channels are those of the input with ``dw_pw``, those of the output with ``pw_dw``.

    Attributes:
        energies: Squared singular values of the (weighted) slices, descending, ``(channels, rank)``, float64; their
            sum is the squared norm of the kernel.
        directions: The depthwise kernels, ``(channels, rank, kernel positions)``, float64.
        duals: What a slice is multiplied by for the weights of its sums, of the same shape: the directions
            themselves where nothing is weighted, since they are orthonormal then.
    """

    energies: Tensor
    directions: Tensor
    duals: Tensor


def channel_slices(weight: Tensor, groups: int, order: Structure = Structure.DW_PW) -> Tensor:
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
    return swap_channels(flat, groups) if order is Structure.DW_PW else flat


def channel_spectrum(
    weight: Tensor, groups: int, order: Structure = Structure.DW_PW, weighting: Weighting | None = None
) -> Spectrum:
    r"""Decompose each slice :math:`W_c = U \Sigma V^T` (Guo et al. 2018, "Network Decoupling", §3).

    Only :math:`\Sigma^2` and :math:`V` are needed: they are the eigenpairs of the small Gram matrix
    :math:`W_c^T W_c` of ``kernel positions`` squared, which is far cheaper than the decomposition itself. With a
    weighting :math:`F^{1/2} W_c S_c^{1/2}` is decomposed instead; the depthwise kernels are then
    :math:`V^T S_c^{-1/2}`.

    Args:
        weight: Dense kernel, ``(out_channels, in_channels / groups, *kernel_size)``.
        groups: Groups of the convolution.
        order: Which convolution comes first.
        weighting: What a change of the kernel costs; None counts every number of it alike.

    Raises:
        ConversionError: The weight holds NaN or infinite values.
    """
    slices = channel_slices(weight, groups, order)
    require_finite(slices)
    rank = min(slices.shape[1], slices.shape[2])
    if weighting is None:
        energies, directions = _descending(slices.transpose(1, 2) @ slices, rank)
        return Spectrum(energies, directions, directions)
    root, inverse, rows = weighting.roots(order)
    seen = slices @ root
    energies, turned = _descending(seen.transpose(1, 2) @ _multiply(rows, seen), rank)
    directions, duals = turned @ inverse, turned @ root
    # Only the product of the two counts: depthwise kernels of norm 1 keep both in the range of any number format.
    lengths = directions.norm(dim=2, keepdim=True)
    return Spectrum(energies, directions / lengths, duals * lengths)


def _multiply(rows: Tensor, slices: Tensor) -> Tensor:
    """Multiply the slices of each group by its matrix, side by side, since there are many slices and large matrices."""
    groups, (channels, size, positions) = len(rows), slices.shape
    beside = slices.reshape(groups, -1, size, positions).transpose(1, 2).reshape(groups, size, -1)
    products = (rows @ beside).reshape(groups, size, -1, positions)
    return products.transpose(1, 2).reshape(channels, size, positions)


def _descending(grams: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return the largest eigenvalues and their vectors, ``(channels, rank)`` and ``(channels, rank, positions)``."""
    values, vectors = torch.linalg.eigh(grams)
    # eigh sorts ascending; rounding may leave a null space slightly negative.
    return values.flip(-1)[:, :rank].clamp_min(0), vectors.flip(-1).transpose(1, 2)[:, :rank].contiguous()


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
