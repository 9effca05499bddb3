"""Deciding what becomes of each convolution; nothing is changed here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from dsft.choices import Decision, Form, Method, Order, Reason
from dsft.errors import ConversionError, did_you_mean
from dsft.measure import count_macs
from dsft.measure.example import ExampleInput
from dsft.progress import Report, ignore
from dsft.separable import allowed_forms
from dsft.surgery.bids import Bid, Rank, collect_bids
from dsft.surgery.budget import Options, spread_ranks
from dsft.surgery.forms import FormChoice, first_form
from dsft.surgery.plan import ConversionPlan, LayerPlan
from dsft.surgery.ready import require_ready, unwrapped
from dsft.surgery.sites import Site, find_sites

Bought = tuple[Bid, tuple[int, ...]]
"""A layer in the order that was chosen for it, and its kernels; none where it stays dense."""


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
    norm_between: bool = False,
    choose_form: FormChoice = first_form,
    report: Report = ignore,
) -> ConversionPlan:
    """Decide what becomes of each convolution of a network.

    Args:
        model: The dense network; it is run once and left as it was. Of a compiled or distributed one the network
            inside is planned for.
        example_input: What it takes; shapes and costs are those of this input.
        budget: Share of the network's multiply-accumulates that may be left, 0 to 1.
        rank: Depthwise kernels of each input channel (``dw_pw``) or output channel (``pw_dw``), alike in every
            layer, or ``full``: as many as make the layer exact. Exactly one of ``budget`` and ``rank`` is given.
        method: How the weights will be derived.
        order: Which convolution comes first; ``auto`` is for each layer the one that loses less at its price under
            a budget, and ``dw_pw`` where the rank is given.
        is_trained: The weights mean something; otherwise a budget buys whole ranks, alike for all channels.
        include: Patterns of the layers that may be converted.
        exclude: Patterns of the layers that stay dense.
        norm_between: Put a norm and an activation between the two convolutions; with the method ``fresh`` only.
        choose_form: Chooses the form of layers with several kernels for an input channel.
        report: Receives the progress over the layers.

    Raises:
        ConversionError: Neither or both of ``budget`` and ``rank``, ``norm_between`` with weights that are kept, a
            pattern without a layer, no layer that can be converted, a budget that cannot be met, a weight that is
            not finite, or a network that is scripted, lazy or compiled in parts.
    """
    check_target(budget, rank)
    for name, patterns in (("include", include), ("exclude", exclude)):
        if isinstance(patterns, str):
            raise ConversionError(f"{name}: a list of patterns is needed, such as [{patterns!r}], found {patterns!r}.")
    _check_norm(method, norm_between=norm_between)
    model = unwrapped(model)
    require_ready(model)
    sites = find_sites(model, example_input)
    _check_patterns([*include, *exclude], sites)
    obstacles = [site.obstacle or _pattern_obstacle(site, include, exclude) for site in sites]
    eligible = [site for site, obstacle in zip(sites, obstacles, strict=True) if obstacle is None]
    if not eligible:
        raise ConversionError(_nothing_eligible(sites, obstacles))
    bids = collect_bids(eligible, _orders(order, budget), is_trained=is_trained, report=report)
    total = count_macs(model, example_input)
    bought = _alike(bids, rank) if rank is not None else _within_budget(bids, total, budget or 1.0)
    chosen = {bid.site.name: (bid, kernels) for bid, kernels in bought if kernels}
    savers = {bid.site.name for orders in bids for bid in orders if bid.least_macs < bid.site.macs}
    reason = Reason.RANK if budget is None else Reason.BUDGET
    layers = tuple(
        _converted_layer(*chosen[site.name], method, reason, choose_form, norm_between=norm_between)
        if site.name in chosen
        else _kept_layer(site, obstacle or (Reason.BUDGET if site.name in savers else Reason.NOT_CHEAPER))
        for site, obstacle in zip(sites, obstacles, strict=True)
    )
    saved = sum(layer.macs_before - layer.macs_after for layer in layers)
    return ConversionPlan(method, layers, total, total - saved, norm_between)


def _orders(order: Order, budget: float | None) -> tuple[Order, ...]:
    if order is not Order.AUTO:
        return (order,)
    return (Order.DW_PW,) if budget is None else (Order.DW_PW, Order.PW_DW)


def _alike(bids: Sequence[tuple[Bid, ...]], rank: Rank) -> list[Bought]:
    return [(bid, bid.kernels_at_rank(rank)) for bid, *_ in bids]


def _within_budget(bids: Sequence[tuple[Bid, ...]], total: int, budget: float) -> list[Bought]:
    layers = [Options(orders[0].site.macs, tuple(bid.offer for bid in orders)) for orders in bids]
    fixed = total - sum(options.dense_cost for options in layers)
    least = fixed + sum(options.least_cost for options in layers)
    limit = math.floor(budget * total)
    if limit < least:
        # Rounded up, so that the fraction which the message names can be met.
        smallest = math.ceil(least / total * 1e4) / 1e4
        raise ConversionError(
            f"budget macs={budget:g}: cannot be met: the smallest that this network allows is {smallest:g} "
            f"({len(bids)} of its convolutions can be converted). Ask for more, or exclude fewer layers."
        )
    choices = spread_ranks(layers, limit - fixed)
    chosen = [(orders[choice.offer], choice.ranks) for orders, choice in zip(bids, choices, strict=True)]
    return [(bid, bid.kernels_at(ranks)) for bid, ranks in chosen]


def _converted_layer(
    bid: Bid,
    kernels: tuple[int, ...],
    method: Method,
    reason: Reason,
    choose_form: FormChoice,
    *,
    norm_between: bool,
) -> LayerPlan:
    site, module = bid.site, bid.site.module
    forms = allowed_forms(kernels, module.groups, bid.order, transposed=module.transposed, norm_between=norm_between)
    form: Form | None = forms[0] if forms else None
    if len(forms) > 1:
        form = choose_form(site, kernels, forms)
    return LayerPlan(
        name=site.name,
        aliases=site.aliases,
        weight_shape=tuple(module.weight.shape),
        decision=Decision.CONVERTED,
        reason=reason,
        order=bid.order,
        kernels=kernels,
        macs_before=site.macs,
        macs_after=sum(kernels) * site.macs_of_kernel(bid.order),
        relative_error=None if method is Method.FRESH else bid.relative_error(kernels),
        form=form,
    )


def _kept_layer(site: Site, reason: Reason) -> LayerPlan:
    shape = tuple(site.module.weight.shape)
    return LayerPlan(site.name, site.aliases, shape, Decision.KEPT, reason, None, (), site.macs, site.macs, None)


def _check_norm(method: Method, *, norm_between: bool) -> None:
    if norm_between and method is not Method.FRESH:
        raise ConversionError(
            f"norm_between: goes with method fresh only, found {str(method)!r}: weights that are kept would mean "
            f"something else behind a norm and an activation. Set method=fresh, or leave norm_between out."
        )


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
