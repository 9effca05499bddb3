"""Deciding what becomes of each convolution. Nothing is changed here."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

from dsft.choices import AUTO, Cost, Decision, Form, Reason
from dsft.conversion.budget import Budget, MaxDrop
from dsft.conversion.discovery.sites import POINTWISE_STRUCTURES, Site
from dsft.conversion.factorization import METHODS
from dsft.conversion.plan import ConversionPlan, LayerPlan, Replacement
from dsft.conversion.planning.analysis import NetworkAnalysis
from dsft.conversion.planning.cost_model import CostModel, Filter, latency_model
from dsft.conversion.planning.knapsack import LayerOptions, solve_knapsack
from dsft.conversion.planning.latency_correction import fit_latency
from dsft.conversion.planning.layer_latency import LayerLatency
from dsft.conversion.planning.selection import exclusion
from dsft.conversion.planning.shape_rule import expected_faster
from dsft.conversion.request import Rank, Request
from dsft.conversion.structures import Candidate
from dsft.errors import BudgetError
from dsft.progress import Report, ignore


@dataclass(frozen=True)
class _LayerChoice:
    """What an eligible convolution becomes, and why; without kernels it stays dense."""

    candidate: Candidate
    kernels: tuple[int, ...]
    reason: Reason

    @property
    def saved_params(self) -> int:
        candidate = self.candidate
        spent = sum(self.kernels) * candidate.kernel_params + candidate.added_params
        return candidate.site.params - spent if self.kernels else 0


class Planner:
    """Makes plans of one network.

    Args:
        analysis: The network.
        request: The settings of the conversion.
        latency: Measures what decisions need: the forms of layers whose channels are repeated, where the request
            leaves them open, and times for a latency budget and for ``only_faster``. Without it forms are chosen by
            rule.
        report: Receives the progress.

    Raises:
        ValueError: Times are needed and ``latency`` is None.
    """

    def __init__(
        self, analysis: NetworkAnalysis, request: Request, latency: LayerLatency | None = None, report: Report = ignore
    ) -> None:
        self._analysis, self._request, self._latency, self._report = analysis, request, latency, report
        budget = request.budget
        self._by = budget.by if isinstance(budget, Budget | MaxDrop) else None
        self._candidates, self._costs = list(analysis.candidates), dict(analysis.costs)
        is_timed = self._by is Cost.LATENCY
        if latency is None:
            if is_timed or request.only_faster:
                raise ValueError("latency: needed for a latency budget and for only_faster")
            return
        if is_timed and analysis.is_trained:
            self._candidates = [
                (*each, *(variant for candidate in each for variant in candidate.faster_variants()))
                for each in self._candidates
            ]
        if is_timed or (budget is not None and request.only_faster):
            latency.measure(self._candidates)
        if is_timed:
            self._costs[Cost.LATENCY] = latency_model(analysis.model, analysis.example_input, self._candidates, latency)

    def plan(self, share: float | None = None) -> ConversionPlan:
        """Return a plan that meets the budget, or has the rank.

        Args:
            share: Share of the budget's cost; None for the one of the request.

        Raises:
            BudgetError: The share cannot be met.
        """
        if share is None and self._request.cost_budget is not None:
            share = self._request.cost_budget.share
        # Layers that would not become faster stay dense, and what they saved must be saved elsewhere.
        dense: frozenset[str] = frozenset()
        while True:
            plan = self._plan(share, dense)
            slower = self._slower_layers(plan)
            if not slower:
                return plan
            dense |= slower

    def least_share(self) -> float:
        """Return the smallest share of the budget's cost that can be met, rounded up; at most 1.

        For a latency budget the fastest plan is timed.
        """
        by = self._require_cost()
        least = self._least_share(by, frozenset())
        if by is not Cost.LATENCY or self._latency is None:
            return min(_round_up(least, 4), 1.0)
        fastest = self._choose(by, least, frozenset())
        analysis = self._analysis
        return min(_round_up(self._latency.share_left(analysis.model, analysis.example_input, fastest), 2), 1.0)

    def _plan(self, share: float | None, dense: Collection[str]) -> ConversionPlan:
        if share is None:
            return self._assemble(self._at_rank(self._request.rank or "full", dense))
        by = self._require_cost()
        if by is not Cost.LATENCY or self._latency is None:
            return self._choose(by, share, dense)
        return fit_latency(
            lambda planned: self._choose(by, planned, dense),
            partial(self._latency.share_left, self._analysis.model, self._analysis.example_input),
            share,
            self._least_share(by, dense),
            self._report,
        )

    def _require_cost(self) -> Cost:
        if self._by is None:
            raise ValueError("share: needs a budget, and the request has a rank")
        return self._by

    def _choose(self, by: Cost, share: float, dense: Collection[str]) -> ConversionPlan:
        return self._assemble(self._within(by, share, dense))

    def _assemble(self, choices: Sequence[_LayerChoice]) -> ConversionPlan:
        planned = {choice.candidate.site.name: self._plan_layer(choice) for choice in choices}
        layers = tuple(
            _kept_layer(site, obstacle) if obstacle is not None else planned[site.name]
            for site, obstacle in self._analysis.obstacles.items()
        )
        macs, params = (int(self._costs[cost].total) for cost in (Cost.MACS, Cost.PARAMS))
        return ConversionPlan(
            method=self._analysis.method,
            layers=layers,
            macs_before=macs,
            macs_after=macs - sum(layer.macs_before - layer.macs_after for layer in layers),
            norm_between=self._request.norm_between,
            params_before=params,
            params_after=params - sum(choice.saved_params for choice in choices),
        )

    def _at_rank(self, rank: Rank, dense: Collection[str]) -> list[_LayerChoice]:
        return [
            _LayerChoice(candidate, (), Reason.NOT_FASTER)
            if candidate.site.name in dense
            else _LayerChoice(candidate, candidate.kernels_at_rank(rank), Reason.RANK)
            for candidate, *_ in self._candidates
        ]

    def _within(self, by: Cost, share: float, dense: Collection[str]) -> list[_LayerChoice]:
        costs, layers = self._costs[by], self._options(by, dense)
        fixed = costs.total - sum(options.dense_cost for options in layers)
        if share < self._least_share(by, dense):
            raise self._cannot_meet(by, share, dense)
        limit = max(share * costs.total - fixed, sum(options.least_cost for options in layers))
        choices = []
        for candidates, options, choice in zip(self._candidates, layers, solve_knapsack(layers, limit), strict=True):
            candidate = candidates[choice.alternative]
            kernels = candidate.kernels_at(choice.steps)
            reason = Reason.BUDGET if kernels else self._reason_to_keep(costs, candidates, options)
            choices.append(_LayerChoice(candidate, kernels, reason))
        return choices

    def _least_share(self, by: Cost, dense: Collection[str]) -> float:
        saved = sum(options.dense_cost - options.least_cost for options in self._options(by, dense))
        return 1 - saved / self._costs[by].total

    def _cannot_meet(self, by: Cost, share: float, dense: Collection[str]) -> BudgetError:
        # Rounded up, so that the share in the message can be met.
        smallest = _round_up(self._least_share(by, dense), 4)
        return BudgetError(
            f"budget {by}={share:g}: cannot be met: the smallest that this network allows is {smallest:g} "
            f"({len(self._candidates)} of its convolutions can be converted). Ask for more, {self._way_out()}.",
            smallest,
        )

    def _way_out(self) -> str:
        """Say what helps besides a larger share where a budget cannot be met."""
        request = self._request
        if any(
            site.obstacle is Reason.POINTWISE and exclusion(site, request) is None for site in self._analysis.obstacles
        ):
            structures = ", ".join([*request.allowed_structures, *POINTWISE_STRUCTURES])
            return f"exclude fewer layers, or allow the structures {structures}"
        if request.has_free_choice:
            structures = ", ".join(request.allowed_structures)
            return f"exclude fewer layers, or name the structures ({structures}), which allows sizes that may be slower"
        return "or exclude fewer layers"

    def _options(self, by: Cost, dense: Collection[str]) -> list[LayerOptions]:
        costs = self._costs[by]
        allowed = self._filter(by)
        return [
            LayerOptions(costs.of_dense(candidates[0].site), ())
            if candidates[0].site.name in dense
            else costs.options(candidates, allowed, self._largest_rise(candidates[0].site))
            for candidates in self._candidates
        ]

    def _largest_rise(self, site: Site) -> float:
        """Return the error of a layer up to which errors add up."""
        weighting = self._analysis.weightings.get(site.name)
        return math.inf if weighting is None or not self._request.has_free_choice else weighting.largest_rise

    def _filter(self, by: Cost) -> Filter | None:
        """Return which sizes may be chosen: those that measure faster, or that are expected to be; None for all."""
        if self._latency is not None and self._request.only_faster:
            return self._latency.are_faster
        return expected_faster if self._request.has_free_choice and by is not Cost.LATENCY else None

    def _reason_to_keep(self, costs: CostModel, candidates: Sequence[Candidate], options: LayerOptions) -> Reason:
        if options.least_cost < options.dense_cost:
            return Reason.WITHIN_BUDGET
        is_cheaper = costs.options(candidates).least_cost < options.dense_cost
        return Reason.NOT_FASTER if is_cheaper else Reason.NOT_CHEAPER

    def _slower_layers(self, plan: ConversionPlan) -> frozenset[str]:
        """Return the names of converted layers that do not measure faster, where time counts."""
        latency = self._latency
        if latency is None or not (self._request.only_faster or self._by is Cost.LATENCY):
            return frozenset()
        sites = self._analysis.sites
        return frozenset(
            layer.name for layer in plan.converted if not latency.is_faster(sites[layer.name], layer.replacement)
        )

    def _plan_layer(self, choice: _LayerChoice) -> LayerPlan:
        candidate, kernels = choice.candidate, choice.kernels
        site = candidate.site
        if not kernels:
            return _kept_layer(site, choice.reason)
        has_error = METHODS[self._analysis.method].keeps_weights
        return LayerPlan(
            name=site.name,
            aliases=site.aliases,
            weight_shape=tuple(site.module.weight.shape),
            decision=Decision.CONVERTED,
            reason=choice.reason,
            structure=candidate.structure,
            kernels=kernels,
            macs_before=site.macs,
            macs_after=sum(kernels) * candidate.kernel_macs,
            relative_error=candidate.relative_error(kernels) if has_error else None,
            form=self._choose_form(candidate, kernels),
            adds_bias=candidate.added_params > 0,
        )

    def _choose_form(self, candidate: Candidate, kernels: tuple[int, ...]) -> Form | None:
        forms = candidate.allowed_forms(kernels)
        if self._request.form in forms:
            return Form(self._request.form)
        if len(forms) > 1 and self._request.form == AUTO and self._latency is not None:
            return self._latency.choose_form(candidate.site, Replacement(candidate.structure, kernels), forms)
        # By rule: concatenation where all channels have equal numbers of kernels, else a gather.
        return forms[0] if forms else None


def _kept_layer(site: Site, reason: Reason) -> LayerPlan:
    shape = tuple(site.module.weight.shape)
    return LayerPlan(site.name, site.aliases, shape, Decision.KEPT, reason, None, (), site.macs, site.macs, None)


def _round_up(share: float, digits: int) -> float:
    scale = 10.0**digits
    return math.ceil(share * scale) / scale
