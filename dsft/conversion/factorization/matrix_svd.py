"""The singular value decomposition of the matrices of a 1x1 kernel, one for each group."""

from __future__ import annotations

import torch
from torch import Tensor

from dsft.conversion.factorization.channel_svd import require_finite
from dsft.conversion.factorization.weighting import Weighting, roots_of


def matrix_energies(weight: Tensor, groups: int, weighting: Weighting | None = None) -> Tensor:
    """Return the squared singular values of each group's matrix, descending, ``(groups, rank)``, float64.

    Args:
        weight: Dense 1x1 kernel, ``(out_channels, in_channels / groups, 1, ...)``.
        groups: Groups of the convolution.
        weighting: Moments that weight the error; None for the plain squared error.

    Raises:
        ConversionError: The kernel holds NaN or infinite values.
    """
    gram = _smaller_gram(_WeightedMatrices(_matrices(weight, groups), weighting).matrices)
    # eigvalsh sorts ascending; by rounding, zero eigenvalues may be slightly negative.
    energies: Tensor = torch.linalg.eigvalsh(gram)
    return energies.flip(-1).clamp_min(0)


def truncated_matrices(
    weight: Tensor, groups: int, rank: int, weighting: Weighting | None = None
) -> tuple[Tensor, Tensor]:
    r"""Return two factors of each group's matrix, truncated to a rank.

    The singular vectors are eigenvectors of the smaller of :math:`W W^T` and :math:`W^T W`, and the other factor is
    :math:`U^T W` or :math:`W V`: at full rank this is exact regardless of the accuracy of the singular values. With a
    weighting, :math:`F^{1/2} W S^{1/2}` is decomposed.

    Args:
        weight: Dense 1x1 kernel, ``(out_channels, in_channels / groups, 1, ...)``.
        groups: Groups of the convolution.
        rank: Rank of each group.
        weighting: Moments that weight the error; None for the plain squared error.

    Returns:
        ``(groups, rank, in_channels / groups)`` and ``(groups, out_channels / groups, rank)``, float64.
    """
    matrices = _matrices(weight, groups)
    weighted = _WeightedMatrices(matrices, weighting)
    is_wide = matrices.shape[1] < matrices.shape[2]
    vectors = torch.linalg.eigh(_smaller_gram(weighted.matrices)).eigenvectors.flip(-1)[..., :rank]
    first = vectors.transpose(1, 2) @ (weighted.rows @ matrices if is_wide else weighted.columns_inverse)
    second = weighted.rows_inverse @ vectors if is_wide else matrices @ weighted.columns @ vectors
    scale = first.norm(dim=2) if is_wide else second.norm(dim=1)
    # A direction with a singular value of 0 has no scale to share.
    root = torch.where(scale > 0, scale, 1.0).sqrt()
    moved = 1 / root if is_wide else root
    return first * moved.unsqueeze(2), second / moved.unsqueeze(1)


class _WeightedMatrices:
    """Matrices between the roots of the moments of their rows and columns, ``(groups, rows, columns)``."""

    def __init__(self, matrices: Tensor, weighting: Weighting | None) -> None:
        if weighting is None:
            self.rows = self.rows_inverse = torch.eye(matrices.shape[1], dtype=matrices.dtype)
            self.columns = self.columns_inverse = torch.eye(matrices.shape[2], dtype=matrices.dtype)
        else:
            self.rows, self.rows_inverse = roots_of(weighting.gradients)
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
