"""What a change of a kernel costs the network, from the moments of a layer's input and of the loss's gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dsft.choices import Structure

FLOOR = 1e-6
"""Smallest eigenvalue of a moment, as a share of its mean: an input channel that is always zero has no moment, and
the directions that it never takes would get infinite kernels."""


@dataclass(frozen=True)
class Weighting:
    r"""Second moments at one convolution.

    The loss rises by about :math:`\frac12 \mathrm{tr}(F \Delta W S \Delta W^T)` where the kernel changes by
    :math:`\Delta W`, with :math:`S = E[x x^T]` of the input patches and :math:`F = E[\sum g g^T]` of the gradient at
    the output, summed over positions: the Kronecker-factored Fisher information (Grosse & Martens 2016, "A
    Kronecker-factored approximate Fisher matrix for convolution layers", eq. 22). So energies that are weighted
    mean the same in every layer of a network.

    Attributes:
        taps: Moment of the kernel positions of each input channel, ``(in_channels, positions, positions)``.
        channels: Moment of the input channels of each group at the position in the middle, ``(groups,
            in_channels / groups, in_channels / groups)``.
        outputs: Moment of the gradient in each group, ``(groups, out_channels / groups, out_channels / groups)``.

    All are float64 on the CPU.
    """

    taps: Tensor
    channels: Tensor
    outputs: Tensor

    def roots(self, order: Structure) -> tuple[Tensor, Tensor, Tensor]:
        r"""Return the matrices that turn the slices of a kernel into ones whose squared norm is the loss's rise.

        Args:
            order: ``dw_pw`` has a slice for each input channel, ``pw_dw`` for each output channel.

        Returns:
            The root of the moment of the positions, its inverse, both ``(channels, positions, positions)``, and the
            moment of the rows of each group's slices, ``(groups, rows, rows)``.
        """
        if order is Structure.DW_PW:
            return *roots_of(self.taps), _floored(self.outputs)
        # The moment of whole patches is taken for that of the channels times that of the positions.
        spread = self.taps.diagonal(dim1=1, dim2=2).mean()
        root, inverse = roots_of(self.taps.mean(0, keepdim=True) / spread.clamp_min(torch.finfo(spread.dtype).tiny))
        each = _floored(self.outputs).diagonal(dim1=1, dim2=2).reshape(-1, 1, 1).sqrt()
        return root * each, inverse / each, _floored(self.channels)


def roots_of(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Return the roots of moments ``(..., size, size)`` and their inverses, with a floor under what was not seen."""
    values, vectors = torch.linalg.eigh(moments)
    root = values.clamp_min(_floor(values.mean())).sqrt()
    turned = vectors.transpose(-2, -1)
    return (vectors * root.unsqueeze(-2)) @ turned, (vectors / root.unsqueeze(-2)) @ turned


def _floored(moments: Tensor) -> Tensor:
    """Keep the directions that were not seen from costing nothing."""
    size = moments.shape[-1]
    return moments + _floor(moments.diagonal(dim1=-2, dim2=-1).mean()) * torch.eye(size, dtype=moments.dtype)


def _floor(mean: Tensor) -> Tensor:
    """Return the smallest eigenvalue that counts; where nothing was seen at all, all directions count alike."""
    return FLOOR * torch.where(mean > 0, mean, torch.ones_like(mean))
