"""Both factors of a layer fitted to its output, in turn: the outputs of a ``pw_dw`` layer in ``refit``."""

from __future__ import annotations

import torch
from torch import Tensor

from dsft.conversion.factorization.coordinate_descent import TapMoments
from dsft.conversion.factorization.ridge import RIDGE

SWEEPS = 4
"""How often both factors are fitted; further ones change little."""

HAIR = 1e-10
"""What is added to the diagonal of a system, as a share of its mean."""

LARGEST = 512
"""From so many pointwise weights on an output keeps those that it has, since the work of a fit grows with the third
power of their number."""


def fit_outputs(
    moments: TapMoments,
    kernel: Tensor,
    starts: list[tuple[Tensor, Tensor]],
    ridge: float = RIDGE,
) -> list[tuple[Tensor, Tensor]]:
    r"""Fit the pointwise weights and the depthwise kernels of every output of a ``pw_dw`` layer.

    An output is :math:`\langle P^T K, X \rangle` with its pointwise weights :math:`P`, its kernels :math:`K` and the
    taps :math:`X` of all channels: with one factor fixed the other is a least-squares solution, so the two are
    fitted in turn, and each step lowers the error (alternating least squares; Guo et al. 2018, "Network Decoupling",
    has the factors, and their fit to data as one to the kernel alone).

    Args:
        moments: Of the group.
        kernel: The dense kernel, ``(outputs, channels * positions)``: what an unseen direction is pulled to.
        starts: For each output its pointwise weights, ``(rank, channels)``, and its kernels, ``(rank, positions)``.
        ridge: Strength of the pull, as a share of the taps' mean variance.

    Returns:
        For each output both factors, of these shapes, float64.
    """
    spread = moments.taps.diagonal().mean()
    pull = ridge * spread if spread > 0 else torch.ones_like(spread)
    taps = moments.taps + pull * torch.eye(len(moments.taps), dtype=torch.float64)
    wanted = moments.products + pull * kernel.double()
    return [_fit_output(taps, row, *start) for row, start in zip(wanted, starts, strict=True)]


def _fit_output(taps: Tensor, wanted: Tensor, points: Tensor, kernels: Tensor) -> tuple[Tensor, Tensor]:
    """Fit one output, from moments with the pull in them."""
    points, kernels = points.double(), kernels.double()
    (rank, channels), positions = points.shape, kernels.shape[1]
    if rank * channels >= LARGEST:
        return points, kernels
    products = wanted.reshape(channels, positions)
    for _ in range(SWEEPS):
        # Of length 1, so that no kernel grows while its pointwise weights shrink.
        kernels = torch.linalg.qr(kernels.T).Q.T if rank <= positions else kernels
        half = kernels @ taps.reshape(-1, positions, channels * positions)
        both = half.reshape(channels, rank, channels, positions) @ kernels.T
        points = _solve(both.permute(1, 0, 3, 2), kernels @ products.T)
        half = (points @ taps.reshape(channels, -1)).reshape(rank, positions, channels, positions)
        both = torch.einsum("rpcq,sc->rpsq", half, points)
        kernels = _solve(both, points @ products)
    return points, kernels


def _solve(system: Tensor, right: Tensor) -> Tensor:
    """Solve for a factor ``(rank, size)``, from a system ``(rank, size, rank, size)``."""
    matrix = system.reshape(right.numel(), -1)
    # Kernels that have become alike, or nothing, leave something open: a hair on the diagonal settles it.
    size = matrix.diagonal().mean()
    hair = HAIR * torch.where(size > 0, size, torch.ones_like(size))
    factor = torch.linalg.cholesky(matrix + hair * torch.eye(len(matrix), dtype=matrix.dtype))
    return torch.cholesky_solve(right.reshape(-1, 1), factor).reshape(right.shape)
