"""The last correction of a latency budget: against the whole network, which the sum of its layers misses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from dsft.conversion.plan import ConversionPlan
from dsft.errors import BudgetError
from dsft.progress import Note, Report

ROUNDS = 6
"""Most plans that are measured before the cheapest is taken."""

NEAR = 0.97
"""A plan that takes more than this share of what it may take is good enough."""

AIM = 0.985
"""Share of what it may take that the next plan shall take: a little less, so that noise does not undo it."""

CLOSE = 0.002
"""Plans whose shares differ by less are not told apart."""


@dataclass(frozen=True)
class Attempt:
    """A plan, the share of the time that it was planned for, and the share that was measured."""

    planned: float
    plan: ConversionPlan
    measured: float


def fit_latency(
    plan_at: Callable[[float], ConversionPlan],
    measure: Callable[[ConversionPlan], float],
    share: float,
    least: float,
    report: Report,
) -> ConversionPlan:
    """Return the plan that leaves most of a network as it is while the network takes at most ``share`` of its time.

    Sums over layers miss what caches and the fusion of operations do, so a plan is measured as a whole, and planned
    again for as much less or more as it missed by.

    Args:
        plan_at: Makes the plan that takes such a share of the time by the sum of its layers.
        measure: Returns the share of the original's time that a plan takes as a whole.
        share: The share that may be left, above 0 and up to 1.
        least: The smallest share that can be planned for.
        report: Receives what was planned and measured.

    Raises:
        BudgetError: Not even the fastest plan is fast enough; the message names what it takes.
    """

    def attempt(planned: float) -> Attempt:
        plan = plan_at(planned)
        tried = Attempt(planned, plan, measure(plan))
        report(Note(f"planned for {planned:.3f} of the time, measured {tried.measured:.3f} of it"))
        return tried

    best: Attempt | None = None
    low, high, planned = least, 1.0, max(share, least)
    # What is planned for the whole time stays dense and takes the whole time.
    before = (1.0, 1.0)
    for _ in range(ROUNDS):
        tried = attempt(planned)
        if tried.measured <= share:
            best, low = tried, planned
            if tried.measured >= NEAR * share:
                break
        else:
            high = planned
        if high - low < CLOSE:
            break
        planned, before = _secant(before, (planned, tried.measured), AIM * share), (planned, tried.measured)
        if not low < planned < high:
            planned = (low + high) / 2
    if best is None:
        best = attempt(least)
        if best.measured > share:
            # Rounded up, so that the share which the message names can be met.
            smallest = math.ceil(best.measured * 100) / 100
            advice = "Ask for more" if smallest <= 1 else "Leave it dense, ask for macs"
            raise BudgetError(
                f"budget latency={share:g}: cannot be met: the smallest share that was measured for this network is "
                f"{smallest:g}. {advice}, or exclude fewer layers.",
                smallest,
            )
    return best.plan


def _secant(one: tuple[float, float], other: tuple[float, float], goal: float) -> float:
    """Return where the line through two points ``(planned, measured)`` comes to the goal."""
    (planned, measured), (before, measured_before) = other, one
    rise = measured - measured_before
    return planned + (goal - measured) * (planned - before) / rise if rise else math.nan
