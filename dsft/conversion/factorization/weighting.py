"""Second moments of a convolution's input and gradient, which weight the error of a factorization."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dsft.choices import Structure

MIN_EIGENVALUE = 1e-6
"""Smallest eigenvalue of a moment, relative to its mean. An input channel that is always zero has a moment of zero,
and directions without variance would get infinite kernels."""


@dataclass(frozen=True)
class Weighting:
    r"""Second moments of the input patches and of the output gradient of one convolution.

    The loss increases by about :math:`\frac12 \mathrm{tr}(F \Delta W S \Delta W^T)` if the kernel changes by
    :math:`\Delta W`, with :math:`S = E[x x^T]` of the input patches and :math:`F = E[\sum g g^T]` of the gradient at
    the output, summed over positions: the Kronecker-factored Fisher information (Grosse & Martens 2016, "A
    Kronecker-factored approximate Fisher matrix for convolution layers", eq. 22). Weighted energies are therefore
    comparable between layers.

    Attributes:
        patches: Moment of the kernel positions of each input channel, ``(in_channels, positions, positions)``.
        channels: Moment of the input channels of each group at the central position, ``(groups,
            in_channels / groups, in_channels / groups)``.
        gradients: Moment of the output gradient in each group, ``(groups, out_channels / groups,
            out_channels / groups)``.
        largest_rise: Rise of the loss up to which this holds. It is known for rows of class scores; infinite for other
            outputs.

    All are float64 on the CPU.
    """

    patches: Tensor
    channels: Tensor
    gradients: Tensor
    largest_rise: float = math.inf

    def roots(self, order: Structure) -> tuple[Tensor, Tensor, Tensor]:
        r"""Return matrices that weight the slices of a kernel so that squared norms are increases of the loss.

        Args:
            order: ``dw_pw`` has a slice for each input channel, ``pw_dw`` for each output channel.

        Returns:
            The root of the moment of the positions, its inverse, both ``(channels, positions, positions)``, and the
            moment of the rows of each group's slices, ``(groups, rows, rows)``.
        """
        if order is Structure.DW_PW:
            return *roots_of(self.patches), _regularized(self.gradients)
        # The moment of whole patches is approximated by the product of those of the channels and of the positions.
        variance = self.patches.diagonal(dim1=1, dim2=2).mean()
        mean = self.patches.mean(0, keepdim=True) / variance.clamp_min(torch.finfo(variance.dtype).tiny)
        root, inverse = roots_of(mean)
        each = _regularized(self.gradients).diagonal(dim1=1, dim2=2).reshape(-1, 1, 1).sqrt()
        return root * each, inverse / each, _regularized(self.channels)


def roots_of(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Return the square roots of moments ``(..., size, size)`` and their inverses, with eigenvalues bounded below."""
    values, vectors = torch.linalg.eigh(moments)
    root = values.clamp_min(_min_eigenvalue(values.mean())).sqrt()
    transposed = vectors.transpose(-2, -1)
    return (vectors * root.unsqueeze(-2)) @ transposed, (vectors / root.unsqueeze(-2)) @ transposed


def _regularized(moments: Tensor) -> Tensor:
    """Add a small multiple of the identity, so that no direction has a weight of zero."""
    size = moments.shape[-1]
    return moments + _min_eigenvalue(moments.diagonal(dim1=-2, dim2=-1).mean()) * torch.eye(size, dtype=moments.dtype)


def _min_eigenvalue(mean: Tensor) -> Tensor:
    """Return the lower bound of eigenvalues; if all moments are zero, all directions get the same weight."""
    return MIN_EIGENVALUE * torch.where(mean > 0, mean, torch.ones_like(mean))
