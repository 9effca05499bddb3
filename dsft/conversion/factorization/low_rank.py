"""The two factors of a kernel of one position: by truncated decomposition, or drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from dsft.choices import Method
from dsft.conversion.factorization.spectrum import require_finite
from dsft.conversion.factorization.weighting import Weighting, roots_of


@dataclass(frozen=True)
class LowRankFactors:
    """The weights of a low-rank layer.

    Attributes:
        first: ``(groups * rank, in_channels / groups, 1, ...)``.
        second: ``(out_channels, rank, 1, ...)``.
    """

    first: Tensor
    second: Tensor


LowRankDerivation = Callable[[Tensor, int, int, Generator, Weighting | None], LowRankFactors]
"""Derive factors from a dense weight ``(out_channels, in_channels / groups, 1, ...)``, the number of groups, the rank
of each group, a generator for whatever is random, and what a change of the weight costs."""


def matrix_energies(weight: Tensor, groups: int, weighting: Weighting | None = None) -> Tensor:
    """Return the squared singular values of each group's matrix, descending, ``(groups, rank)``, float64.

    Args:
        weight: Dense kernel of one position, ``(out_channels, in_channels / groups, 1, ...)``.
        groups: Groups of the convolution.
        weighting: What a change of the kernel costs; None counts every number of it alike.

    Raises:
        ConversionError: The weight holds NaN or infinite values.
    """
    gram = _smaller_gram(_Weighted(_matrices(weight, groups), weighting).matrices)
    # eigvalsh sorts ascending; rounding may leave a null space slightly negative.
    energies: Tensor = torch.linalg.eigvalsh(gram)
    return energies.flip(-1).clamp_min(0)


def svd_low_rank(
    weight: Tensor,
    groups: int,
    rank: int,
    generator: Generator,  # noqa: ARG001 (nothing here is random)
    weighting: Weighting | None = None,
) -> LowRankFactors:
    r"""Keep the strongest singular directions of each group's matrix :math:`W = U \Sigma V^T` (Eckart & Young 1936).

    They are found on the smaller side, as eigenvectors of :math:`W W^T` or :math:`W^T W`, and :math:`U^T W` or
    :math:`W V` is the other factor: exact at full rank whatever the accuracy of the singular values. Each factor gets
    a square root of :math:`\Sigma`, so that both are trained at like rates. With a weighting it is
    :math:`F^{1/2} W S^{1/2}` that is decomposed.

    Args:
        weight: Dense kernel of one position, ``(out_channels, in_channels / groups, 1, ...)``.
        groups: Groups of the convolution.
        rank: Maps of each group between the two convolutions.
        generator: Unused: nothing here is random.
        weighting: What a change of the kernel costs; None counts every number of it alike.

    Returns:
        Factors in the dtype and on the device of ``weight``.
    """
    matrices = _matrices(weight, groups)
    seen = _Weighted(matrices, weighting)
    is_wide = matrices.shape[1] < matrices.shape[2]
    vectors = torch.linalg.eigh(_smaller_gram(seen.matrices)).eigenvectors.flip(-1)[..., :rank]
    first = vectors.transpose(1, 2) @ (seen.rows @ matrices if is_wide else seen.columns_inverse)
    second = seen.rows_inverse @ vectors if is_wide else matrices @ seen.columns @ vectors
    scale = first.norm(dim=2) if is_wide else second.norm(dim=1)
    # A direction without weight has no scale to share.
    root = torch.where(scale > 0, scale, 1.0).sqrt()
    moved = 1 / root if is_wide else root
    return _factors(first * moved.unsqueeze(2), second / moved.unsqueeze(1), weight)


def fresh_low_rank(
    weight: Tensor,
    groups: int,
    rank: int,
    generator: Generator,
    weighting: Weighting | None = None,  # noqa: ARG001 (no weight is kept whose change could cost anything)
) -> LowRankFactors:
    """Draw both factors so that the layer keeps the variance that a ReLU needs.

    The first convolution is linear and keeps the variance of its input (gain 1, LeCun et al. 1998); the second has
    gain sqrt 2 (He et al. 2015, "Delving Deep into Rectifiers", eq. 10).

    Args:
        weight: Dense kernel of one position: its shape alone counts.
        groups: Groups of the convolution.
        rank: Maps of each group between the two convolutions.
        generator: Source of the random numbers, on the CPU.
        weighting: Unused: no weight is kept whose change could cost anything.

    Returns:
        Factors in the dtype and on the device of ``weight``.
    """
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    first = torch.randn(groups, rank, inputs, generator=generator) / math.sqrt(inputs)
    second = torch.randn(groups, outputs, rank, generator=generator) * math.sqrt(2 / rank)
    return _factors(first, second, weight)


class _Weighted:
    """Matrices between the roots of what their rows and columns count, ``(groups, rows, columns)``."""

    def __init__(self, matrices: Tensor, weighting: Weighting | None) -> None:
        if weighting is None:
            self.rows = self.rows_inverse = torch.eye(matrices.shape[1], dtype=matrices.dtype)
            self.columns = self.columns_inverse = torch.eye(matrices.shape[2], dtype=matrices.dtype)
        else:
            self.rows, self.rows_inverse = roots_of(weighting.outputs)
            self.columns, self.columns_inverse = roots_of(weighting.channels)
        self.matrices = self.rows @ matrices @ self.columns


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


LOW_RANK_DERIVATIONS: dict[Method, LowRankDerivation] = {
    Method.FRESH: fresh_low_rank,
    Method.SVD: svd_low_rank,
    # What a refit starts from.
    Method.REFIT: svd_low_rank,
}
