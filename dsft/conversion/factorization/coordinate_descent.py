"""Both factors of a layer fitted to its output, channel by channel: the depthwise kernels of ``refit``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dsft.conversion.factorization.ridge import RIDGE

SAMPLES = 4096
"""How many samples the moments are measured from at a time."""

SWEEPS = 3
"""How often all channels are gone through; further ones change little."""


@dataclass(frozen=True)
class TapMoments:
    """Second moments of what a group's kernel positions see and of what its layer should put out, about the means.

    Attributes:
        taps: ``(channels * positions, channels * positions)``, channel by channel, float64.
        products: Of the targets with the taps, ``(outputs, channels * positions)``, float64.
    """

    taps: Tensor
    products: Tensor


def measure_moments(taps: Tensor, targets: Tensor) -> TapMoments:
    """Measure moments from samples ``(samples, channels * positions)`` and ``(samples, outputs)``."""
    means = taps.mean(0), targets.mean(0)
    own, products = (taps.new_zeros(len(row), taps.shape[1], dtype=torch.float64) for row in (taps[0], targets[0]))
    # A part of the samples at a time, since a centred copy of all would be as large as they are.
    for some, wanted in zip(torch.split(taps, SAMPLES), torch.split(targets, SAMPLES), strict=True):
        centred = some - means[0]
        own += centred.T @ centred
        products += (wanted - means[1]).T @ centred
    return TapMoments(own / len(taps), products / len(taps))


def fit_kernels(
    moments: TapMoments, kernel: Tensor, start: Tensor, ranks: Sequence[int], outputs: Tensor, ridge: float = RIDGE
) -> list[tuple[Tensor, Tensor]]:
    r"""Fit the depthwise kernels of a ``dw_pw`` layer to what it should put out.

    One channel after the other: with the others as they are, the best map of rank :math:`r_c` from a channel's taps
    to what is left of the output is known in closed form, :math:`W_c = R_c S_c^{-1}` cut to rank in the norm
    :math:`F^{1/2} W_c S_c^{1/2}` (reduced-rank regression; Izenman 1975, eq. 2.8). Each step lowers the error, so any
    number of sweeps does.

    Args:
        moments: Of the group.
        kernel: The dense kernel, ``(outputs, channels * positions)``: what an unseen direction is pulled to.
        start: The kernel that the layer stands for now, of the same shape.
        ranks: Depthwise kernels of each channel.
        outputs: What an error of the outputs costs, ``(outputs, outputs)``.
        ridge: Strength of the pull, as a share of the taps' mean variance.

    Returns:
        For each channel its depthwise kernels, ``(rank, positions)``, of norm 1, the most important first, and the
        weights of their sums, ``(outputs, rank)``.
    """
    positions = moments.taps.shape[0] // len(ranks)
    spread = moments.taps.diagonal().mean()
    pull = ridge * spread if spread > 0 else torch.ones_like(spread)
    eye = torch.eye(positions, dtype=torch.float64)
    current = start.double().clone()
    none = (torch.empty(0, positions, dtype=torch.float64), torch.empty(len(current), 0, dtype=torch.float64))
    factors = [none] * len(ranks)
    inverses = [_inverse_root(block + pull * eye) for block in _diagonal_blocks(moments.taps, positions)]
    for _ in range(SWEEPS):
        for channel, (rank, inverse) in enumerate(zip(ranks, inverses, strict=True)):
            columns = slice(channel * positions, (channel + 1) * positions)
            if not rank:
                continue
            own = current[:, columns] @ moments.taps[columns, columns]
            # Rows of the symmetric moments, since they lie together in memory.
            left = moments.products[:, columns] - current @ moments.taps[columns].T + own
            best = (left + pull * kernel[:, columns]) @ inverse
            _, vectors = torch.linalg.eigh(best.T @ outputs @ best)
            kept = vectors[:, -rank:].flip(1)
            points, kernels = best @ kept, kept.T @ inverse
            current[:, columns] = points @ kernels
            lengths = kernels.norm(dim=1)
            factors[channel] = (kernels / lengths.unsqueeze(1), points * lengths)
    return factors


def _diagonal_blocks(moments: Tensor, size: int) -> Sequence[Tensor]:
    return [moments[at : at + size, at : at + size] for at in range(0, len(moments), size)]


def _inverse_root(moment: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(moment)
    inverse: Tensor = (vectors / values.clamp_min(torch.finfo(values.dtype).tiny).sqrt()) @ vectors.T
    return inverse
