"""Deciding what becomes of each convolution; nothing is changed here."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

from torch import nn

from dsft.choices import AUTO, Cost, Decision, Form, Method, Reason, Structure
from dsft.conversion.discovery.preconditions import require_ready, unwrapped
from dsft.conversion.discovery.sites import Site, find_sites
from dsft.conversion.factorization import Weighting
from dsft.conversion.plan import ConversionPlan, LayerPlan
from dsft.conversion.planning.candidates import Bid, SeparableBid, collect_bids
from dsft.conversion.planning.cost_model import CostModel, latency_model, macs_model, params_model
from dsft.conversion.planning.knapsack import Options, spread_ranks
from dsft.conversion.planning.latency_correction import fit_latency
from dsft.conversion.planning.layer_latency import Candidate, Clock
from dsft.conversion.request import Rank, Request
from dsft.errors import BudgetError, ConversionError, did_you_mean
from dsft.measure.example import ExampleInput
from dsft.progress import Report, ignore
from dsft.separable import allowed_forms

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
    clock: Clock | None = None,
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
        clock: Measures what decisions need: the forms of layers with several kernels for an input channel, where
            the request leaves them open, and times for a budget of latency and for ``only_faster``. Without it
            forms are chosen by rule, and nothing that needs times can be asked for.
        weigh: Measures what a change of a kernel costs the network; without it every number of a kernel counts alike,
            relative to its layer.
        report: Receives the progress over the layers.

    Raises:
        ConversionError: A pattern without a layer, no layer that can be converted, a budget that cannot be met, a
            weight that is not finite, or a network that is scripted, lazy or compiled in parts.
        ValueError: Times are needed and there is no clock.
    """
    budget = request.cost_budget
    if request.max_drop is not None:
        raise ConversionError("budget max_drop: no plan alone can meet it, since converted networks must be scored.")
    is_timed = budget is not None and budget.by is Cost.LATENCY
    if clock is None and (is_timed or request.only_faster):
        raise ValueError("clock: needed for a budget of latency and for only_faster")
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
        _orders(request),
        is_trained=is_trained,
        norm_between=request.norm_between,
        weightings=weigh(eligible) if weigh is not None else {},
        report=report,
    )
    if is_timed and is_trained:
        bids = [(*each, *(bid.in_whole_ranks() for bid in each if isinstance(bid, SeparableBid))) for each in bids]
    costs = {Cost.MACS: macs_model(model, example_input), Cost.PARAMS: params_model(model)}
    if clock is not None and (is_timed or (budget is not None and request.only_faster)):
        clock.measure(bids)
    if clock is not None and is_timed:
        costs[Cost.LATENCY] = latency_model(model, example_input, bids, clock)
    method = request.choose_method(has_calibration=weigh is not None)
    planner = _Planner(request, method, dict(zip(sites, obstacles, strict=True)), bids, costs, clock)
    barred: frozenset[str] = frozenset()
    while True:
        if clock is not None and budget is not None and is_timed:
            plan = fit_latency(
                partial(planner.plan, barred),
                partial(clock.share_left, model, example_input),
                budget.share,
                planner.least_share(budget.by, barred),
                report,
            )
        else:
            plan = planner.plan(barred)
        slower = planner.slower_layers(plan)
        if not slower:
            return plan
        barred |= slower


@dataclass(frozen=True)
class _Planner:
    """Makes plans of one network.

    Attributes:
        request: What is asked for.
        method: How the weights are derived.
        sites: Its convolutions, each with why it cannot be converted.
        bids: What those become that can be.
        costs: What can be counted.
        clock: What measures, or None.
    """

    request: Request
    method: Method
    sites: Mapping[Site, Reason | None]
    bids: Sequence[tuple[Bid, ...]]
    costs: Mapping[Cost, CostModel]
    clock: Clock | None

    def plan(self, barred: Collection[str], share: float | None = None) -> ConversionPlan:
        """Make a plan.

        Args:
            barred: Names of layers that stay dense because they would not become faster.
            share: Share of the cost that may be left, where it is not the one that is asked for.
        """
        budget = self.request.cost_budget
        if budget is None:
            outcomes = self._alike(self.request.rank or "full", barred)
        else:
            outcomes = self._within(budget.by, budget.share if share is None else share, barred)
        planned = {outcome.bid.site.name: self._plan_layer(outcome) for outcome in outcomes}
        layers = tuple(
            _kept_layer(site, obstacle) if obstacle is not None else planned[site.name]
            for site, obstacle in self.sites.items()
        )
        macs, params = (int(self.costs[cost].total) for cost in (Cost.MACS, Cost.PARAMS))
        return ConversionPlan(
            method=self.method,
            layers=layers,
            macs_before=macs,
            macs_after=macs - sum(layer.macs_before - layer.macs_after for layer in layers),
            norm_between=self.request.norm_between,
            params_before=params,
            params_after=params - sum(outcome.saved_params for outcome in outcomes),
        )

    def least_share(self, by: Cost, barred: Collection[str]) -> float:
        """Return the smallest share of a cost that can be left."""
        costs, layers = self.costs[by], self._options(self.costs[by], barred)
        return 1 - sum(options.dense_cost - options.least_cost for options in layers) / costs.total

    def slower_layers(self, plan: ConversionPlan) -> frozenset[str]:
        """Return the names of converted layers that measure no faster, where time counts."""
        budget = self.request.cost_budget
        if self.clock is None or not (self.request.only_faster or (budget is not None and budget.by is Cost.LATENCY)):
            return frozenset()
        sites = {site.name: site for site in self.sites}
        return frozenset(
            layer.name
            for layer in plan.converted
            if not self.clock.is_faster(sites[layer.name], Candidate(layer.replacement, layer.kernels, layer.form))
        )

    def _alike(self, rank: Rank, barred: Collection[str]) -> list[_Outcome]:
        return [
            _Outcome(bid, (), Reason.NOT_FASTER)
            if bid.site.name in barred
            else _Outcome(bid, bid.kernels_at_rank(rank), Reason.RANK)
            for bid, *_ in self.bids
        ]

    def _within(self, by: Cost, share: float, barred: Collection[str]) -> list[_Outcome]:
        costs, layers = self.costs[by], self._options(self.costs[by], barred)
        fixed = costs.total - sum(options.dense_cost for options in layers)
        least = self.least_share(by, barred)
        if share < least:
            # Rounded up, so that the fraction which the message names can be met.
            smallest = math.ceil(least * 1e4) / 1e4
            raise BudgetError(
                f"budget {by}={share:g}: cannot be met: the smallest that this network allows is {smallest:g} "
                f"({len(self.bids)} of its convolutions can be converted). Ask for "
                f"more, {_way_out(list(self.sites), self.request)}.",
                smallest,
            )
        limit = max(share * costs.total - fixed, sum(options.least_cost for options in layers))
        outcomes = []
        for bids, options, choice in zip(self.bids, layers, spread_ranks(layers, limit), strict=True):
            bid = bids[choice.offer]
            kernels = bid.kernels_at(choice.steps)
            reason = Reason.BUDGET if kernels else self._reason_to_keep(costs, bids, options)
            outcomes.append(_Outcome(bid, kernels, reason))
        return outcomes

    def _options(self, costs: CostModel, barred: Collection[str]) -> list[Options]:
        is_allowed = self.clock.are_faster if self.clock is not None and self.request.only_faster else None
        return [
            Options(costs.of_dense(bids[0].site), ())
            if bids[0].site.name in barred
            else costs.options(bids, is_allowed)
            for bids in self.bids
        ]

    def _reason_to_keep(self, costs: CostModel, bids: Sequence[Bid], options: Options) -> Reason:
        if options.least_cost < options.dense_cost:
            return Reason.WITHIN_BUDGET
        is_cheaper = costs.options(bids).least_cost < options.dense_cost
        return Reason.NOT_FASTER if is_cheaper else Reason.NOT_CHEAPER

    def _plan_layer(self, outcome: _Outcome) -> LayerPlan:
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
            structure=bid.structure,
            kernels=kernels,
            macs_before=site.macs,
            macs_after=sum(kernels) * bid.kernel_macs,
            relative_error=None if self.method is Method.FRESH else bid.relative_error(kernels),
            form=self._choose_form(outcome),
            adds_bias=bid.added_params > 0,
        )

    def _choose_form(self, outcome: _Outcome) -> Form | None:
        bid, kernels, module = outcome.bid, outcome.kernels, outcome.bid.site.module
        if bid.structure is Structure.LOW_RANK:
            return None
        forms = allowed_forms(
            kernels, module.groups, bid.structure, transposed=module.transposed, norm_between=self.request.norm_between
        )
        if self.request.form in forms:
            return Form(self.request.form)
        if len(forms) > 1 and self.request.form == AUTO and self.clock is not None:
            return self.clock.choose_form(bid.site, kernels, forms)
        # By rule: concatenation where all channels have equal numbers of kernels, else a gather.
        return forms[0] if forms else None


def _orders(request: Request) -> Sequence[Structure]:
    orders = [structure for structure in request.structures if structure is not Structure.LOW_RANK]
    return orders if request.rank is None else orders[:1]


def _way_out(sites: Sequence[Site], request: Request) -> str:
    """Say what besides asking for more would help where a budget cannot be met."""
    if any(site.obstacle is Reason.POINTWISE and _pattern_obstacle(site, request) is None for site in sites):
        structures = ", ".join([*map(str, request.structures), Structure.LOW_RANK])
        return f"exclude fewer layers, or allow structures=[{structures}]"
    return "or exclude fewer layers"


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
    found = ", ".join(f"{count}: {reason.message}" for reason, count in counts.items()) or "no convolution at all"
    return f"there is nothing to convert: of {len(sites)} convolutions none can be converted ({found})."
