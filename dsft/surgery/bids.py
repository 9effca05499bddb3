"""What each layer offers to the planner: its singular values, in the order in which its kernels are bought."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dsft.choices import Order
from dsft.derive import channel_spectrum
from dsft.errors import ConversionError
from dsft.progress import Advanced, Finished, Report, Started
from dsft.surgery.budget import Offer
from dsft.surgery.sites import Site

Rank = int | Literal["full"]


@dataclass(frozen=True)
class Bid:
    """A layer in one order, with its singular values in the order in which its kernels are bought.

    Attributes:
        site: The layer.
        order: Which convolution comes first.
        energies: Squared singular values of each group, descending (with ``pw_dw`` after the first of each output
            channel, which it cannot be without), ``(groups, kernels)``.
        channels: The channel (within the group) of each of them, ``(groups, kernels)``.
        full_rank: Kernels of one channel that make it exact.
    """

    site: Site
    order: Order
    energies: Tensor
    channels: Tensor
    full_rank: int

    @property
    def offer(self) -> Offer:
        """What the layer may become; its error is relative to its own weight (METHODS 2.2, lambda)."""
        energy = float(self.energies.sum())
        gains = self.energies.sum(0).numpy() / (energy or 1.0)
        groups = self.site.module.groups
        least = 1 if self.order is Order.DW_PW else self.site.channels_of(self.order) // groups
        return Offer(np.asarray(gains, dtype=np.float64), groups * self.site.macs_of_kernel(self.order), least)

    @property
    def least_macs(self) -> int:
        """The fewest multiply-accumulates that the separable layer can have."""
        return self.offer.least_ranks * self.offer.rank_cost

    def kernels_at(self, ranks: int) -> tuple[int, ...]:
        """Return the kernels of each channel when the first ``ranks`` of each group are bought."""
        width = self.site.channels_of(self.order) // self.site.module.groups
        counts = [torch.bincount(row[:ranks], minlength=width) for row in self.channels]
        return tuple(torch.cat(counts).tolist()) if ranks else ()

    def kernels_at_rank(self, rank: Rank) -> tuple[int, ...]:
        """Return ``rank`` kernels for each channel, or as many as make the layer exact."""
        limit = self.full_rank
        return (min(rank, limit) if isinstance(rank, int) else limit,) * self.site.channels_of(self.order)

    def relative_error(self, kernels: Sequence[int]) -> float:
        """Return the relative Frobenius error of the kernel that is left."""
        groups, total = self.site.module.groups, float(self.energies.sum())
        wanted = torch.tensor(kernels).reshape(groups, -1)
        kept = 0.0
        for row, channels, limits in zip(self.energies, self.channels, wanted, strict=True):
            # The rank of an entry is how often its channel came before; energies of a channel descend.
            seen = (channels.unsqueeze(0) == channels.unsqueeze(1)).tril(-1).sum(1)
            kept += float(row[seen < limits[channels]].sum())
        return math.sqrt(max(1 - kept / total, 0.0)) if total else 0.0


def collect_bids(sites: Sequence[Site], orders: Sequence[Order], report: Report) -> list[tuple[Bid, ...]]:
    """Decompose the kernels of all layers.

    Args:
        sites: The layers.
        orders: The orders that each may take.
        report: Receives the progress over the layers.

    Returns:
        One bid for each order, layer by layer.

    Raises:
        ConversionError: A weight is not finite.
    """
    task = "decomposing"
    report(Started(task, len(sites), "layers"))
    bids = []
    for done, site in enumerate(sites, start=1):
        bids.append(tuple(_bid(site, order) for order in orders))
        report(Advanced(task, done))
    report(Finished(task))
    return bids


def _bid(site: Site, order: Order) -> Bid:
    try:
        energies = channel_spectrum(site.dense_kernel, site.module.groups, order).energies
    except ConversionError as error:
        raise ConversionError(f"layer {site.name!r}: {error}") from error
    rank = energies.shape[1]
    priorities = energies.clone()
    if order is Order.PW_DW:
        priorities[:, 0] += 1 + 2 * energies.max()
    # Stable, so that of equal values the lower rank comes first and a channel's kernels stay a prefix.
    bought = priorities.reshape(site.module.groups, -1).argsort(dim=1, descending=True, stable=True)
    ordered = energies.reshape(site.module.groups, -1).gather(1, bought)
    return Bid(site, order, ordered, bought // rank, rank)
