"""Block coordinate descent for the depthwise kernels of a ``dw_pw`` layer, one input channel at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dsft.conversion.factorization.ridge import RIDGE

CHUNK_SAMPLES = 4096
"""Samples from which the moments are computed at a time."""

SWEEPS = 3
"""How often all channels are fitted; further sweeps change little."""


@dataclass(frozen=True)
class PatchMoments:
    """Centred second moments of the patches of a group's input, and of its target with the patches.

    All are on the CPU, where the fits compute: they need float64, which not every device has.

    Attributes:
        patches: ``(channels * positions, channels * positions)``, channel by channel, float64.
        products: ``(outputs, channels * positions)``, float64.
        root: ``(samples, channels * positions)``, whose product with its own transpose is ``patches``; None unless
            there are so few samples that products with it cost less.
    """

    patches: Tensor
    products: Tensor
    root: Tensor | None = None


def patch_moments(patches: Tensor, targets: Tensor) -> PatchMoments:
    """Compute moments from samples ``(samples, channels * positions)`` and ``(samples, outputs)``."""
    means = patches.mean(0), targets.mean(0)
    own, products = (torch.zeros(rows.shape[1], patches.shape[1], dtype=torch.float64) for rows in (patches, targets))
    # In chunks, since a centred copy of all samples would be as large as they are.
    for some, wanted in zip(torch.split(patches, CHUNK_SAMPLES), torch.split(targets, CHUNK_SAMPLES), strict=True):
        centred = some - means[0]
        own += (centred.T @ centred).cpu()
        products += ((wanted - means[1]).T @ centred).cpu()
    is_small = 2 * len(patches) < patches.shape[1]
    root = (patches - means[0]).cpu() / len(patches) ** 0.5 if is_small else None
    return PatchMoments(own / len(patches), products / len(patches), root)


def fit_depthwise_kernels(
    moments: PatchMoments,
    kernel: Tensor,
    initial: Tensor,
    ranks: Sequence[int],
    gradients: Tensor,
    ridge: float = RIDGE,
) -> list[tuple[Tensor, Tensor]]:
    r"""Fit the depthwise kernels of a ``dw_pw`` layer to its target.

    With all other channels fixed, the best map of rank :math:`r_c` from the patches of a channel to the residual of
    the target has a closed form: :math:`W_c = R_c S_c^{-1}`, truncated to that rank in the norm
    :math:`\|F^{1/2} W_c S_c^{1/2}\|` (reduced-rank regression; Izenman 1975, eq. 2.8). No step increases the error.

    Args:
        moments: Second moments of the group.
        kernel: The dense kernel, ``(outputs, channels * positions)``, towards which directions without variance
            shrink.
        initial: The composed kernel of the layer's initial weights, of the same shape.
        ranks: Depthwise kernels of each channel.
        gradients: Second moment of the gradient at the outputs, :math:`F`, ``(outputs, outputs)``.
        ridge: Penalty of a change, relative to the mean variance of the patches.

    Returns:
        For each channel its depthwise kernels, ``(rank, positions)``, of norm 1, the most important first, and their
        pointwise weights, ``(outputs, rank)``.
    """
    positions = moments.patches.shape[0] // len(ranks)
    variance = moments.patches.diagonal().mean()
    penalty = ridge * variance if variance > 0 else torch.ones_like(variance)
    eye = torch.eye(positions, dtype=torch.float64)
    current = initial.double().clone()
    none = (torch.empty(0, positions, dtype=torch.float64), torch.empty(len(current), 0, dtype=torch.float64))
    factors = [none] * len(ranks)
    inverses = [_inverse_root(block + penalty * eye) for block in _diagonal_blocks(moments.patches, positions)]
    for _ in range(SWEEPS):
        for channel, (rank, inverse) in enumerate(zip(ranks, inverses, strict=True)):
            columns = slice(channel * positions, (channel + 1) * positions)
            if not rank:
                continue
            own = current[:, columns] @ moments.patches[columns, columns]
            # Rows of the symmetric matrix, since they are contiguous in memory.
            residual = moments.products[:, columns] - current @ moments.patches[columns].T + own
            best = (residual + penalty * kernel[:, columns]) @ inverse
            _, vectors = torch.linalg.eigh(best.T @ gradients @ best)
            kept = vectors[:, -rank:].flip(1)
            points, kernels = best @ kept, kept.T @ inverse
            current[:, columns] = points @ kernels
            lengths = kernels.norm(dim=1)
            factors[channel] = (kernels / lengths.unsqueeze(1), points * lengths)
    return factors


def _diagonal_blocks(matrix: Tensor, size: int) -> Sequence[Tensor]:
    return [matrix[at : at + size, at : at + size] for at in range(0, len(matrix), size)]


def _inverse_root(moment: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(moment)
    inverse: Tensor = (vectors / values.clamp_min(torch.finfo(values.dtype).tiny).sqrt()) @ vectors.T
    return inverse
