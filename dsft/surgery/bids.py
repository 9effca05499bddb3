"""What each layer offers to a budget: its kernels, in the order in which they are worth buying."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dsft.derive import channel_spectrum
from dsft.errors import ConversionError
from dsft.progress import Advanced, Finished, Report, Started
from dsft.surgery.budget import Offer
from dsft.surgery.dense import effective_weight
from dsft.surgery.sites import Site


@dataclass(frozen=True)
class Bid:
    """A layer with the energy that each of its possible depthwise kernels keeps.

    Attributes:
        site: The layer.
        energies: Squared singular values of each input channel, descending, ``(in_channels, ranks)``.
        step: Kernels that each group buys at a time.
    """

    site: Site
    energies: Tensor
    step: int

    @property
    def offer(self) -> Offer:
        """What the layer may become; its error is relative to its own weight (METHODS 2.2, lambda)."""
        energy = float(self.energies.sum())
        gains = self._by_group.sort(dim=1, descending=True).values.sum(0).reshape(-1, self.step).sum(1)
        cost = self.macs_of(self.site.module.groups * self.step)
        return Offer(np.asarray(gains.numpy() / (energy or 1.0), dtype=np.float64), cost, self.site.macs)

    @property
    def _by_group(self) -> Tensor:
        return self.energies.reshape(self.site.module.groups, -1)

    def macs_of(self, kernels: int) -> int:
        """Return the multiply-accumulates of the separable layer with so many depthwise kernels in all."""
        module = self.site.module
        per_kernel = math.prod(module.kernel_size) + module.out_channels // module.groups
        return self.site.positions * kernels * per_kernel

    def kernels_at(self, steps: int) -> tuple[int, ...]:
        """Return the kernels of each input channel when each group keeps its strongest; empty for no step."""
        if not steps:
            return ()
        channels, ranks = self.energies.shape
        # Stable, so that of equal values the lower rank comes first and a channel's kernels stay a prefix.
        order = self._by_group.sort(dim=1, descending=True, stable=True).indices[:, : steps * self.step]
        width = channels // len(order)
        counts = [torch.bincount(row // ranks, minlength=width) for row in order]
        return tuple(torch.cat(counts).tolist())

    def kernels_at_rank(self, rank: int | None) -> tuple[int, ...]:
        """Return ``rank`` kernels for each input channel; None for as many as make the layer exact."""
        channels, limit = self.energies.shape
        return (limit if rank is None else min(rank, limit),) * channels

    def relative_error(self, kernels: Sequence[int]) -> float:
        """Return the relative Frobenius error of the kernel that is left."""
        total = float(self.energies.sum())
        if not total:
            return 0.0
        kept = torch.nn.functional.pad(self.energies.cumsum(1), (1, 0)).gather(1, torch.tensor(kernels).unsqueeze(1))
        return math.sqrt(max(1 - float(kept.sum()) / total, 0.0))


def collect_bids(sites: Sequence[Site], *, is_trained: bool, report: Report) -> list[Bid]:
    """Decompose every layer.

    Args:
        sites: The layers that can be converted.
        is_trained: The weights mean something. Otherwise their singular values are noise, so all channels count
            alike and kernels are bought a whole rank at a time.
        report: Receives the progress over the layers.

    Raises:
        ConversionError: A weight is not finite; the message names the layer.
    """
    task = "decomposing"
    report(Started(task, len(sites), "layers"))
    bids = []
    for done, site in enumerate(sites, start=1):
        bids.append(_bid(site, is_trained))
        report(Advanced(task, done))
    report(Finished(task))
    return bids


def _bid(site: Site, is_trained: bool) -> Bid:
    module = site.module
    try:
        energies = channel_spectrum(effective_weight(module), module.groups).energies
    except ConversionError as error:
        raise ConversionError(f"layer {site.name!r}: {error}") from error
    if is_trained:
        return Bid(site, energies, step=1)
    return Bid(site, energies.mean(0, keepdim=True).expand_as(energies), step=module.in_channels // module.groups)
