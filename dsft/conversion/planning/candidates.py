"""What each layer offers to the planner: its kernels, in the order in which they are worth buying."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dsft.choices import Structure
from dsft.conversion.discovery.sites import Site
from dsft.conversion.factorization import Weighting, channel_spectrum, matrix_energies
from dsft.conversion.request import Rank
from dsft.errors import ConversionError
from dsft.progress import Report, report_task

ROUNDING = 1e-12
"""Relative squared error under which a kernel is exact in float64."""


class Bid(Protocol):
    """What one layer may become, in one structure."""

    @property
    def site(self) -> Site:
        """The layer."""

    @property
    def structure(self) -> Structure:
        """What replaces it."""

    @property
    def steps(self) -> NDArray[np.int64]:
        """The sizes that it may have, as numbers of steps, ascending, ``(options,)``."""

    @property
    def errors(self) -> NDArray[np.float64]:
        """Squared error left at each size, the loss's or relative to the kernel (METHODS 2.2), ``(options,)``."""

    @property
    def step_kernels(self) -> int:
        """Kernels that one step buys in all groups."""

    @property
    def kernel_macs(self) -> int:
        """Multiply-accumulates of one kernel for one image, its share of the sums included."""

    @property
    def kernel_params(self) -> int:
        """Parameters of one kernel, its weights in the sums included."""

    @property
    def added_params(self) -> int:
        """Parameters beside the kernels: the bias that a fit to calibration data brings where there is none."""

    def kernels_at(self, steps: int) -> tuple[int, ...]:
        """Return the kernels, as a plan keeps them, after so many steps; empty for no step."""

    def kernels_at_rank(self, rank: Rank) -> tuple[int, ...]:
        """Return the kernels, as a plan keeps them, of a rank."""

    def relative_error(self, kernels: Sequence[int]) -> float:
        """Return the relative Frobenius error of the kernel that is left."""


@dataclass(frozen=True)
class SeparableBid:
    """A layer in one order, with the energy that each of its possible depthwise kernels keeps.

    Attributes:
        site: The layer.
        structure: ``dw_pw`` or ``pw_dw``.
        energies: Squared singular values of each channel that has kernels of its own, descending,
            ``(channels, ranks)``.
        bought: For each group the places in its flattened energies, in the order in which its kernels are bought:
            the strongest first, but with ``pw_dw`` after the first of each output channel, which it cannot be
            without; ``(groups, kernels)``.
        step: Kernels that each group buys at a time.
        norm_between: Each kernel has a scale and a shift of its own.
        is_weighted: The energies are what the loss loses, the same in every layer, measured on calibration data.
    """

    site: Site
    structure: Structure
    energies: Tensor
    bought: Tensor
    step: int
    norm_between: bool
    is_weighted: bool = False

    @property
    def steps(self) -> NDArray[np.int64]:
        """The numbers of steps that the groups can buy, ascending, ``(options,)``."""
        groups = len(self.bought)
        least = 1 if self.structure is Structure.DW_PW else len(self.energies) // groups // self.step
        return np.arange(least, self.bought.shape[1] // self.step + 1)

    @property
    def errors(self) -> NDArray[np.float64]:
        """Squared error that is left at each number of steps: the loss's, or relative to the kernel (METHODS 2.2)."""
        gains = self.energies.reshape(len(self.bought), -1).gather(1, self.bought).sum(0).reshape(-1, self.step).sum(1)
        return _errors_left(gains, is_weighted=self.is_weighted)[self.steps]

    @property
    def step_kernels(self) -> int:
        """Kernels that one step buys in all groups."""
        return len(self.bought) * self.step

    @property
    def kernel_macs(self) -> int:
        """Multiply-accumulates of one kernel for one image, its share of the sums included."""
        return self.site.macs_of_kernel(self.structure)

    @property
    def kernel_params(self) -> int:
        """Parameters of one kernel, its weights in the sums and its scale and shift included."""
        return self.site.params_of_kernel(self.structure) + (2 if self.norm_between else 0)

    @property
    def added_params(self) -> int:
        """Parameters beside the kernels: the bias that a fit to calibration data brings where there is none."""
        return _added_params(self.site, is_weighted=self.is_weighted)

    def kernels_at(self, steps: int) -> tuple[int, ...]:
        """Return the kernels of each channel when each group has bought so many steps; empty for no step."""
        if not steps:
            return ()
        channels, ranks = self.energies.shape
        width = channels // len(self.bought)
        counts = [torch.bincount(row[: steps * self.step] // ranks, minlength=width) for row in self.bought]
        return tuple(torch.cat(counts).tolist())

    def in_whole_ranks(self) -> SeparableBid:
        """Return the bid that buys equal numbers of kernels for all channels, the first ones first.

        They leave more error than the same number bought by strength, and may be far faster.
        """
        (channels, ranks), groups = self.energies.shape, len(self.bought)
        width = channels // groups
        by_rank = torch.arange(width * ranks).reshape(width, ranks).T.flatten()
        return replace(self, bought=by_rank.expand(groups, -1), step=width)

    def kernels_at_rank(self, rank: Rank) -> tuple[int, ...]:
        """Return ``rank`` kernels for each channel, or as many as make the layer exact."""
        channels, limit = self.energies.shape
        return (min(rank, limit) if isinstance(rank, int) else limit,) * channels

    def relative_error(self, kernels: Sequence[int]) -> float:
        """Return the relative Frobenius error of the kernel that is left."""
        total = float(self.energies.sum())
        if not total:
            return 0.0
        kept = functional.pad(self.energies.cumsum(1), (1, 0)).gather(1, torch.tensor(kernels).unsqueeze(1))
        return math.sqrt(max(1 - float(kept.sum()) / total, 0.0))


@dataclass(frozen=True)
class LowRankBid:
    """A layer of one position as two of them, with the energy that each rank keeps.

    Attributes:
        site: The layer.
        energies: Squared singular values of each group's matrix, descending, ``(groups, ranks)``.
        is_weighted: The energies are what the loss loses, measured on calibration data.
    """

    site: Site
    energies: Tensor
    is_weighted: bool = False
    structure: Structure = Structure.LOW_RANK

    @property
    def steps(self) -> NDArray[np.int64]:
        """The ranks, ascending, ``(options,)``."""
        return np.arange(1, self.energies.shape[1] + 1)

    @property
    def errors(self) -> NDArray[np.float64]:
        """Squared error that is left at each rank: the loss's, or relative to the kernel."""
        return _errors_left(self.energies.sum(0), is_weighted=self.is_weighted)[self.steps]

    @property
    def step_kernels(self) -> int:
        """Kernels of the first convolution for each rank."""
        return len(self.energies)

    @property
    def kernel_macs(self) -> int:
        """Multiply-accumulates of one kernel of the first convolution, and of its share of the second."""
        return self.site.output_positions * self.kernel_params

    @property
    def kernel_params(self) -> int:
        """Parameters of one kernel of the first convolution, and of its share of the second."""
        module = self.site.module
        return (module.in_channels + module.out_channels) // module.groups

    @property
    def added_params(self) -> int:
        """Parameters beside the kernels: the bias that a fit to calibration data brings where there is none."""
        return _added_params(self.site, is_weighted=self.is_weighted)

    def kernels_at(self, steps: int) -> tuple[int, ...]:
        """Return the rank of each group; empty for no step."""
        return (steps,) * len(self.energies) if steps else ()

    def kernels_at_rank(self, rank: Rank) -> tuple[int, ...]:
        """Return ``rank`` for each group, or as much as makes the layer exact."""
        groups, limit = self.energies.shape
        return (min(rank, limit) if isinstance(rank, int) else limit,) * groups

    def relative_error(self, kernels: Sequence[int]) -> float:
        """Return the relative Frobenius error of the kernel that is left."""
        return math.sqrt(float(_errors_left(self.energies.sum(0))[kernels[0]]))


def collect_bids(
    sites: Sequence[Site],
    orders: Sequence[Structure],
    *,
    is_trained: bool,
    norm_between: bool,
    weightings: Mapping[str, Weighting],
    report: Report,
) -> list[tuple[Bid, ...]]:
    """Decompose the kernels of all layers.

    Args:
        sites: The layers that can be converted.
        orders: The orders that each may take.
        is_trained: The weights mean something. Otherwise their singular values are noise, so all channels count
            alike and kernels are bought a whole rank at a time.
        norm_between: A norm and an activation will stand between the two convolutions.
        weightings: What a change of each layer's kernel costs, by name; empty where nothing is known.
        report: Receives the progress over the layers.

    Returns:
        Layer by layer one bid for each order, or the one of a layer of one position.

    Raises:
        ConversionError: A weight is not finite; the message names the layer.
    """
    bids = []
    with report_task(report, "decomposing kernels", len(sites), "layers") as advance:
        for done, site in enumerate(sites, start=1):
            try:
                bids.append(
                    _bids(site, orders, weightings.get(site.name), is_trained=is_trained, norm_between=norm_between)
                )
            except ConversionError as error:
                raise ConversionError(f"layer {site.name!r}: {error}") from error
            advance(done)
    return bids


def _bids(
    site: Site, orders: Sequence[Structure], weighting: Weighting | None, *, is_trained: bool, norm_between: bool
) -> tuple[Bid, ...]:
    if site.is_point:
        energies = matrix_energies(site.dense_kernel, site.module.groups, weighting)
        return (LowRankBid(site, energies, is_weighted=weighting is not None),)
    return tuple(
        _separable_bid(site, order, weighting, is_trained=is_trained, norm_between=norm_between) for order in orders
    )


def _separable_bid(
    site: Site, order: Structure, weighting: Weighting | None, *, is_trained: bool, norm_between: bool
) -> SeparableBid:
    groups = site.module.groups
    energies = channel_spectrum(site.dense_kernel, groups, order, weighting).energies
    step = 1
    if not is_trained:
        energies, step = energies.mean(0, keepdim=True).expand_as(energies), len(energies) // groups
    priorities = energies.clone()
    if order is Structure.PW_DW:
        priorities[:, 0] += 1 + 2 * energies.max()
    # Stable, so that of equal values the lower place comes first and a channel's kernels stay a prefix.
    bought = priorities.reshape(groups, -1).argsort(dim=1, descending=True, stable=True)
    return SeparableBid(site, order, energies, bought, step, norm_between, is_weighted=weighting is not None)


def _added_params(site: Site, *, is_weighted: bool) -> int:
    return site.module.out_channels if is_weighted and site.module.bias is None else 0


def _errors_left(gains: Tensor, *, is_weighted: bool = False) -> NDArray[np.float64]:
    """Return the squared error that is left after none, one, two ... of the gains, as a share where not weighted."""
    total = float(gains.sum())
    # Summed from the end, so that nothing is left at the last step.
    left = np.append(gains.flip(0).cumsum(0).flip(0).numpy(), 0.0) / (total or 1.0)
    # Rounding is no error: a layer that is exact shall not buy more.
    return np.where(left > ROUNDING, left, 0.0) * (total if is_weighted else 1.0)
