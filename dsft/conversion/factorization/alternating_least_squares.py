"""Alternating least squares for both factors of a ``pw_dw`` layer, one output channel at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from dsft.conversion.factorization.coordinate_descent import PatchMoments
from dsft.conversion.factorization.ridge import RIDGE

SWEEPS = 4
"""How often both factors are fitted; further sweeps change little."""

JITTER = 1e-10
"""Added to the diagonal of a system, relative to its mean, so that it can be factorised."""

MAX_WEIGHTS = 512
"""An output channel with this many pointwise weights or more is not fitted: the cost is cubic in their number."""


def fit_both_factors(
    moments: PatchMoments,
    kernel: Tensor,
    initial: list[tuple[Tensor, Tensor]],
    ridge: float = RIDGE,
) -> list[tuple[Tensor, Tensor]]:
    r"""Fit the pointwise weights and the depthwise kernels of every output channel of a ``pw_dw`` layer.

    An output is :math:`\langle P^T K, X \rangle` with pointwise weights :math:`P`, kernels :math:`K` and the patches
    :math:`X` of all channels. With one factor fixed, the other is the solution of a least-squares problem, so the two
    are fitted in alternation, and no step increases the error. (The factors are those of Guo et al. 2018, "Network
    Decoupling", which fits them to the kernel alone.)

    Args:
        moments: Second moments of the group.
        kernel: The dense kernel, ``(outputs, channels * positions)``, towards which directions without variance
            shrink.
        initial: For each output its pointwise weights, ``(rank, channels)``, and its kernels, ``(rank, positions)``.
        ridge: Penalty of a change, relative to the mean variance of the patches.

    Returns:
        For each output both factors, of these shapes, float64.
    """
    variance = moments.patches.diagonal().mean()
    penalty = ridge * variance if variance > 0 else torch.ones_like(variance)
    patches = moments.patches + penalty * torch.eye(len(moments.patches), dtype=torch.float64)
    products = moments.products + penalty * kernel.double()
    return [_fit_output(patches, row, *start) for row, start in zip(products, initial, strict=True)]


def _fit_output(patches: Tensor, product: Tensor, points: Tensor, kernels: Tensor) -> tuple[Tensor, Tensor]:
    """Fit one output channel, from moments that include the ridge penalty."""
    points, kernels = points.double(), kernels.double()
    (rank, channels), positions = points.shape, kernels.shape[1]
    if rank * channels >= MAX_WEIGHTS:
        return points, kernels
    products = product.reshape(channels, positions)
    for _ in range(SWEEPS):
        # Orthonormal, so that no kernel grows while its pointwise weights shrink.
        kernels = torch.linalg.qr(kernels.T).Q.T if rank <= positions else kernels
        half = kernels @ patches.reshape(-1, positions, channels * positions)
        both = half.reshape(channels, rank, channels, positions) @ kernels.T
        points = _solve(both.permute(1, 0, 3, 2), kernels @ products.T)
        half = (points @ patches.reshape(channels, -1)).reshape(rank, positions, channels, positions)
        both = torch.einsum("rpcq,sc->rpsq", half, points)
        kernels = _solve(both, points @ products)
    return points, kernels


def _solve(system: Tensor, right: Tensor) -> Tensor:
    """Solve for a factor ``(rank, size)``, from a system ``(rank, size, rank, size)``."""
    matrix = system.reshape(right.numel(), -1)
    # The system is singular if kernels are linearly dependent.
    size = matrix.diagonal().mean()
    jitter = JITTER * torch.where(size > 0, size, torch.ones_like(size))
    factor = torch.linalg.cholesky(matrix + jitter * torch.eye(len(matrix), dtype=matrix.dtype))
    return torch.cholesky_solve(right.reshape(-1, 1), factor).reshape(right.shape)
