"""Deciding what becomes of each convolution; nothing is changed here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from dsft.choices import Cost, Decision, Form, Method, Reason, Structure
from dsft.derive import Weighting
from dsft.errors import BudgetError, ConversionError, did_you_mean
from dsft.measure.example import ExampleInput
from dsft.progress import Report, ignore
from dsft.separable import allowed_forms
from dsft.surgery.bids import Bid, collect_bids
from dsft.surgery.budget import spread_ranks
from dsft.surgery.cost_model import CostModel, macs_model, params_model
from dsft.surgery.forms import FormChoice, first_form, fixed_form
from dsft.surgery.plan import ConversionPlan, LayerPlan
from dsft.surgery.ready import require_ready, unwrapped
from dsft.surgery.request import Budget, Rank, Request
from dsft.surgery.sites import Site, find_sites

Weigh = Callable[[Sequence[Site]], Mapping[str, Weighting]]
"""Measure what a change of each layer's kernel costs the network, by name."""


@dataclass(frozen=True)
class _Outcome:
    """What a convolution that can be converted becomes, and why; without kernels it stays dense."""

    bid: Bid
    kernels: tuple[int, ...]
    reason: Reason

    @property
    def saved_params(self) -> int:
        bid = self.bid
        return bid.site.params - sum(self.kernels) * bid.kernel_params - bid.added_params if self.kernels else 0


def plan_conversion(
    model: nn.Module,
    example_input: ExampleInput,
    request: Request,
    *,
    is_trained: bool = True,
    choose_form: FormChoice = first_form,
    weigh: Weigh | None = None,
    report: Report = ignore,
) -> ConversionPlan:
    """Decide what becomes of each convolution of a network.

    Args:
        model: The dense network; it is run once and left as it was. Of a compiled or distributed one the network
            inside is planned for.
        example_input: What it takes; shapes and costs are those of this input.
        request: What the conversion is asked for.
        is_trained: The weights mean something; otherwise a budget buys whole ranks, alike for all channels.
        choose_form: Chooses the form of layers with several kernels for an input channel, where the request leaves
            it open.
        weigh: Measures what a change of a kernel costs the network; without it every number of a kernel counts alike,
            relative to its layer.
        report: Receives the progress over the layers.

    Raises:
        ConversionError: A pattern without a layer, no layer that can be converted, a budget that cannot be met, a
            weight that is not finite, or a network that is scripted, lazy or compiled in parts.
    """
    if request.max_drop is not None:
        raise ConversionError("budget max_drop: no plan alone can meet it, since converted networks must be scored.")
    model = unwrapped(model)
    require_ready(model)
    sites = find_sites(model, example_input, request.structures)
    _check_patterns([*request.include, *request.exclude], sites)
    obstacles = [site.obstacle or _pattern_obstacle(site, request) for site in sites]
    eligible = [site for site, obstacle in zip(sites, obstacles, strict=True) if obstacle is None]
    if not eligible:
        raise ConversionError(_nothing_eligible(sites, obstacles))
    bids = collect_bids(
        eligible,
        request.orders,
        is_trained=is_trained,
        norm_between=request.norm_between,
        weightings=weigh(eligible) if weigh is not None else {},
        report=report,
    )
    models = {Cost.MACS: macs_model(model, example_input), Cost.PARAMS: params_model(model)}
    if request.budget is None:
        outcomes = _alike(bids, request.rank or "full")
    else:
        outcomes = _within(request.budget, models[request.budget.by], bids, _way_out(sites, request))
    choose = choose_form if request.form is Form.AUTO else fixed_form(request.form)
    planned = {outcome.bid.site.name: _plan_layer(outcome, request, choose) for outcome in outcomes}
    layers = tuple(
        _kept_layer(site, obstacle) if obstacle is not None else planned[site.name]
        for site, obstacle in zip(sites, obstacles, strict=True)
    )
    macs, params = (int(models[cost].total) for cost in (Cost.MACS, Cost.PARAMS))
    return ConversionPlan(
        method=request.derivation,
        layers=layers,
        macs_before=macs,
        macs_after=macs - sum(layer.macs_before - layer.macs_after for layer in layers),
        norm_between=request.norm_between,
        params_before=params,
        params_after=params - sum(outcome.saved_params for outcome in outcomes),
    )


def _alike(bids: Sequence[tuple[Bid, ...]], rank: Rank) -> list[_Outcome]:
    return [_Outcome(bid, bid.kernels_at_rank(rank), Reason.RANK) for bid, *_ in bids]


def _within(budget: Budget, costs: CostModel, bids: Sequence[tuple[Bid, ...]], way_out: str) -> list[_Outcome]:
    layers = [costs.options(each) for each in bids]
    fixed = costs.total - sum(options.dense_cost for options in layers)
    least = fixed + sum(options.least_cost for options in layers)
    limit = budget.share * costs.total
    if limit < least:
        # Rounded up, so that the fraction which the message names can be met.
        smallest = math.ceil(least / costs.total * 1e4) / 1e4
        raise BudgetError(
            f"budget {budget.by}={budget.share:g}: cannot be met: the smallest that this network allows is "
            f"{smallest:g} ({len(bids)} of its convolutions can be converted). Ask for more, {way_out}.",
            smallest,
        )
    outcomes = []
    for each, options, choice in zip(bids, layers, spread_ranks(layers, limit - fixed), strict=True):
        bid = each[choice.offer]
        reason = Reason.BUDGET if options.least_cost < options.dense_cost else Reason.NOT_CHEAPER
        outcomes.append(_Outcome(bid, bid.kernels_at(choice.steps), reason))
    return outcomes


def _way_out(sites: Sequence[Site], request: Request) -> str:
    """Say what besides asking for more would help where a budget cannot be met."""
    if any(site.obstacle is Reason.ONE_POSITION and _pattern_obstacle(site, request) is None for site in sites):
        structures = ", ".join([*request.structures, Structure.LOW_RANK])
        return f"exclude fewer layers, or allow structures=[{structures}]"
    return "or exclude fewer layers"


def _plan_layer(outcome: _Outcome, request: Request, choose_form: FormChoice) -> LayerPlan:
    bid, kernels = outcome.bid, outcome.kernels
    site = bid.site
    if not kernels:
        return _kept_layer(site, outcome.reason)
    return LayerPlan(
        name=site.name,
        aliases=site.aliases,
        weight_shape=tuple(site.module.weight.shape),
        decision=Decision.CONVERTED,
        reason=outcome.reason,
        order=bid.order,
        kernels=kernels,
        macs_before=site.macs,
        macs_after=sum(kernels) * bid.kernel_macs,
        relative_error=None if request.derivation is Method.FRESH else bid.relative_error(kernels),
        form=_choose_form(outcome, request, choose_form),
        adds_bias=bid.added_params > 0,
    )


def _choose_form(outcome: _Outcome, request: Request, choose_form: FormChoice) -> Form | None:
    bid, kernels, module = outcome.bid, outcome.kernels, outcome.bid.site.module
    if bid.order is None:
        return None
    forms = allowed_forms(
        kernels, module.groups, bid.order, transposed=module.transposed, norm_between=request.norm_between
    )
    if len(forms) > 1:
        return choose_form(bid.site, kernels, forms)
    return forms[0] if forms else None


def _kept_layer(site: Site, reason: Reason) -> LayerPlan:
    shape = tuple(site.module.weight.shape)
    return LayerPlan(site.name, site.aliases, shape, Decision.KEPT, reason, None, (), site.macs, site.macs, None)


def _pattern_obstacle(site: Site, request: Request) -> Reason | None:
    is_wanted = _matches(site, request.include) and not _matches(site, request.exclude)
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
