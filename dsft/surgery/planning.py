"""Deciding what becomes of each convolution; nothing is changed here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal

from torch import nn

from dsft.choices import Decision, Method, Order, Reason
from dsft.errors import ConversionError, did_you_mean
from dsft.measure import count_macs
from dsft.measure.example import ExampleInput
from dsft.progress import Report, ignore
from dsft.surgery.bids import Bid, collect_bids
from dsft.surgery.budget import spread_ranks
from dsft.surgery.plan import ConversionPlan, LayerPlan
from dsft.surgery.ready import require_ready, unwrapped
from dsft.surgery.sites import Site, find_sites

Rank = int | Literal["full"]


def plan_conversion(
    model: nn.Module,
    example_input: ExampleInput,
    *,
    budget: float | None = None,
    rank: Rank | None = None,
    method: Method = Method.SVD,
    order: Order = Order.AUTO,
    is_trained: bool = True,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    report: Report = ignore,
) -> ConversionPlan:
    """Decide what becomes of each convolution of a network.

    Args:
        model: The dense network; it is run once and left as it was. Of a compiled or distributed one the network
            inside is planned for.
        example_input: What it takes; shapes and costs are those of this input.
        budget: Share of the network's multiply-accumulates that may be left, 0 to 1.
        rank: Depthwise kernels of each input channel, alike in every layer, or ``full``: as many as make the
            layer exact. Exactly one of ``budget`` and ``rank`` is given.
        method: How the weights will be derived.
        order: Which convolution comes first; ``auto`` is ``dw_pw``.
        is_trained: The weights mean something; otherwise a budget buys whole ranks, alike for all channels.
        include: Patterns of the layers that may be converted.
        exclude: Patterns of the layers that stay dense.
        report: Receives the progress over the layers.

    Raises:
        ConversionError: Neither or both of ``budget`` and ``rank``, a pattern without a layer, no layer that
            can be converted, a budget that cannot be met, a weight that is not finite, or a network that is
            scripted, lazy or compiled in parts.
    """
    check_target(budget, rank)
    for name, patterns in (("include", include), ("exclude", exclude)):
        if isinstance(patterns, str):
            raise ConversionError(f"{name}: a list of patterns is needed, such as [{patterns!r}], found {patterns!r}.")
    model = unwrapped(model)
    require_ready(model)
    sites = find_sites(model, example_input)
    _check_patterns([*include, *exclude], sites)
    obstacles = [site.obstacle or _pattern_obstacle(site, include, exclude) for site in sites]
    eligible = [site for site, obstacle in zip(sites, obstacles, strict=True) if obstacle is None]
    if not eligible:
        raise ConversionError(_nothing_eligible(sites, obstacles))
    bids = collect_bids(eligible, is_trained=is_trained, report=report)
    total = count_macs(model, example_input)
    kernels = _alike(bids, rank) if budget is None else _within_budget(bids, total, budget)
    first = Order.DW_PW if order is Order.AUTO else order
    chosen = {bid.site.name: (bid, kernels) for bid, kernels in zip(bids, kernels, strict=True)}
    layers = tuple(
        _converted_layer(*chosen[site.name], method, first, Reason.RANK if budget is None else Reason.BUDGET)
        if site.name in chosen and chosen[site.name][1]
        else _kept_layer(site, obstacle or Reason.NOT_CHEAPER)
        for site, obstacle in zip(sites, obstacles, strict=True)
    )
    saved = sum(layer.macs_before - layer.macs_after for layer in layers)
    return ConversionPlan(method, layers, total, total - saved)


def _alike(bids: Sequence[Bid], rank: Rank | None) -> list[tuple[int, ...]]:
    return [bid.kernels_at_rank(None if rank == "full" else rank) for bid in bids]


def _within_budget(bids: Sequence[Bid], total: int, budget: float) -> list[tuple[int, ...]]:
    offers = [bid.offer for bid in bids]
    fixed = total - sum(offer.dense_cost for offer in offers)
    least = fixed + sum(offer.least_cost for offer in offers)
    limit = math.floor(budget * total)
    if limit < least:
        # Rounded up, so that the fraction which the message names can be met.
        smallest = math.ceil(least / total * 1e4) / 1e4
        raise ConversionError(
            f"budget macs={budget:g}: cannot be met: the smallest that this network allows is {smallest:g} "
            f"({len(bids)} of its convolutions can be converted). Ask for more, or exclude fewer layers."
        )
    ranks = spread_ranks(offers, limit - fixed)
    return [bid.kernels_at(count) for bid, count in zip(bids, ranks, strict=True)]


def _converted_layer(bid: Bid, kernels: tuple[int, ...], method: Method, order: Order, reason: Reason) -> LayerPlan:
    site = bid.site
    return LayerPlan(
        name=site.name,
        aliases=site.aliases,
        weight_shape=tuple(site.module.weight.shape),
        decision=Decision.CONVERTED,
        reason=reason,
        order=order,
        kernels=kernels,
        macs_before=site.macs,
        macs_after=bid.macs_of(sum(kernels)),
        relative_error=None if method is Method.FRESH else bid.relative_error(kernels),
    )


def _kept_layer(site: Site, reason: Reason) -> LayerPlan:
    shape = tuple(site.module.weight.shape)
    return LayerPlan(site.name, site.aliases, shape, Decision.KEPT, reason, None, (), site.macs, site.macs, None)


def check_target(budget: float | None, rank: Rank | None) -> None:
    """Check that exactly one of the two is given, and is sound.

    Raises:
        ConversionError: It is not.
    """
    if (budget is None) == (rank is None):
        found = "neither" if budget is None else "both"
        raise ConversionError(f"exactly one of budget and rank is needed, found {found}.")
    if budget is not None and not 0 < budget <= 1:
        raise ConversionError(f"budget macs: a share above 0 and up to 1 is needed, found {budget!r}.")
    is_number = isinstance(rank, int) and not isinstance(rank, bool)
    if rank is not None and rank != "full" and not (is_number and int(rank) >= 1):
        raise ConversionError(f"rank: a whole number of at least 1, or 'full', is needed, found {rank!r}.")


def _pattern_obstacle(site: Site, include: Sequence[str], exclude: Sequence[str]) -> Reason | None:
    is_wanted = _matches(site, include) and not _matches(site, exclude)
    return None if is_wanted else Reason.EXCLUDED


def _matches(site: Site, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(alias, pattern) for alias in site.aliases for pattern in patterns)


def _check_patterns(patterns: Sequence[str], sites: Sequence[Site]) -> None:
    names = [alias for site in sites for alias in site.aliases]
    for pattern in patterns:
        if pattern != "*" and not any(_matches(site, [pattern]) for site in sites):
            raise ConversionError(
                f"pattern {pattern!r} matches none of the network's {len(names)} convolutions."
                f"{did_you_mean(pattern, names) or ' The first is ' + repr(names[0]) + '.' if names else ''}"
            )


def _nothing_eligible(sites: Sequence[Site], obstacles: Sequence[Reason | None]) -> str:
    counts = {reason: obstacles.count(reason) for reason in Reason if reason in obstacles}
    found = ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "no convolution at all"
    return f"there is nothing to convert: of {len(sites)} convolutions none can be converted ({found})."
