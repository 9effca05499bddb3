"""The two factors of a kernel of one position: by truncated decomposition, or drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from dsft.choices import Method
from dsft.derive.spectrum import require_finite


@dataclass(frozen=True)
class LowRankFactors:
    """The weights of a low-rank layer.

    Attributes:
        first: ``(groups * rank, in_channels / groups, 1, ...)``.
        second: ``(out_channels, rank, 1, ...)``.
    """

    first: Tensor
    second: Tensor


LowRankDerivation = Callable[[Tensor, int, int, Generator], LowRankFactors]
"""Derive factors from a dense weight ``(out_channels, in_channels / groups, 1, ...)``, the number of groups, the rank
of each group, and a generator for whatever is random."""


def matrix_energies(weight: Tensor, groups: int) -> Tensor:
    """Return the squared singular values of each group's matrix, descending, ``(groups, rank)``, float64.

    Args:
        weight: Dense kernel of one position, ``(out_channels, in_channels / groups, 1, ...)``.
        groups: Groups of the convolution.

    Raises:
        ConversionError: The weight holds NaN or infinite values.
    """
    matrices = _matrices(weight, groups)
    gram = _smaller_gram(matrices)
    # eigvalsh sorts ascending; rounding may leave a null space slightly negative.
    energies: Tensor = torch.linalg.eigvalsh(gram)
    return energies.flip(-1).clamp_min(0)


def svd_low_rank(
    weight: Tensor,
    groups: int,
    rank: int,
    generator: Generator,  # noqa: ARG001 (nothing here is random)
) -> LowRankFactors:
    r"""Keep the strongest singular directions of each group's matrix :math:`W = U \Sigma V^T` (Eckart & Young 1936).

    They are found on the smaller side, as eigenvectors of :math:`W W^T` or :math:`W^T W`, and :math:`U^T W` or
    :math:`W V` is the other factor: exact at full rank whatever the accuracy of the singular values. Each factor gets
    a square root of :math:`\Sigma`, so that both are trained at like rates.

    Args:
        weight: Dense kernel of one position, ``(out_channels, in_channels / groups, 1, ...)``.
        groups: Groups of the convolution.
        rank: Maps of each group between the two convolutions.
        generator: Unused: nothing here is random.

    Returns:
        Factors in the dtype and on the device of ``weight``.
    """
    matrices = _matrices(weight, groups)
    is_wide = matrices.shape[1] < matrices.shape[2]
    vectors = torch.linalg.eigh(_smaller_gram(matrices)).eigenvectors.flip(-1)[..., :rank]
    first = vectors.transpose(1, 2) @ matrices if is_wide else vectors.transpose(1, 2)
    second = vectors if is_wide else matrices @ vectors
    scale = first.norm(dim=2) if is_wide else second.norm(dim=1)
    # A direction without weight has no scale to share.
    root = torch.where(scale > 0, scale, 1.0).sqrt()
    moved = 1 / root if is_wide else root
    return _factors(first * moved.unsqueeze(2), second / moved.unsqueeze(1), weight)


def fresh_low_rank(weight: Tensor, groups: int, rank: int, generator: Generator) -> LowRankFactors:
    """Draw both factors so that the layer keeps the variance that a ReLU needs.

    The first convolution is linear and keeps the variance of its input (gain 1, LeCun et al. 1998); the second has
    gain sqrt 2 (He et al. 2015, "Delving Deep into Rectifiers", eq. 10).

    Args:
        weight: Dense kernel of one position: its shape alone counts.
        groups: Groups of the convolution.
        rank: Maps of each group between the two convolutions.
        generator: Source of the random numbers, on the CPU.

    Returns:
        Factors in the dtype and on the device of ``weight``.
    """
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    first = torch.randn(groups, rank, inputs, generator=generator) / math.sqrt(inputs)
    second = torch.randn(groups, outputs, rank, generator=generator) * math.sqrt(2 / rank)
    return _factors(first, second, weight)


def _matrices(weight: Tensor, groups: int) -> Tensor:
    """Return ``(groups, out_channels / groups, in_channels / groups)``, float64 on the CPU."""
    matrices = weight.detach().to("cpu", torch.float64).reshape(groups, -1, weight.shape[1])
    require_finite(matrices)
    return matrices


def _smaller_gram(matrices: Tensor) -> Tensor:
    transposed = matrices.transpose(1, 2)
    return matrices @ transposed if matrices.shape[1] < matrices.shape[2] else transposed @ matrices


def _factors(first: Tensor, second: Tensor, weight: Tensor) -> LowRankFactors:
    ones = (1,) * (weight.dim() - 2)
    return LowRankFactors(
        first.reshape(-1, first.shape[2], *ones).to(weight), second.reshape(-1, second.shape[2], *ones).to(weight)
    )


LOW_RANK_DERIVATIONS: dict[Method, LowRankDerivation] = {Method.FRESH: fresh_low_rank, Method.SVD: svd_low_rank}
