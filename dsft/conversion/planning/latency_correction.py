"""Correction of a latency plan by measuring the whole network, which the sum of its layers does not predict exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from dsft.conversion.plan import ConversionPlan
from dsft.errors import BudgetError
from dsft.progress import Note, Report

ROUNDS = 6
"""Largest number of plans that are timed before the fastest one."""

NEAR = 0.97
"""A plan is accepted that uses more than this share of the allowed time."""

AIM = 0.985
"""Share of the allowed time that the next plan aims at: slightly less, because of noise."""

CLOSE = 0.002
"""Plans whose shares differ by less count as equal."""


@dataclass(frozen=True)
class Attempt:
    """A plan, the share of the time that it was made for, and the share that was measured."""

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
    """Return the plan that changes least of a network while it takes at most ``share`` of the original's time.

    The sum of the layers' times ignores caches and fused operations. So the network of a plan is timed as a whole, and
    the next plan is made for a share that is corrected by the secant method, with bisection as a fallback.

    Args:
        plan_at: Returns a plan whose layers sum up to a share of the time.
        measure: Returns the measured share of the original's time that the network of a plan takes.
        share: The largest share, above 0 and up to 1.
        least: The smallest share that can be planned for.
        report: Receives a note on each plan.

    Raises:
        BudgetError: The fastest plan is not fast enough; the message states its measured share.
    """

    def attempt(planned: float) -> Attempt:
        plan = plan_at(planned)
        tried = Attempt(planned, plan, measure(plan))
        report(Note(f"planned for {planned:.3f} of the time, measured {tried.measured:.3f} of it"))
        return tried

    best: Attempt | None = None
    low, high, planned = least, 1.0, max(share, least)
    # A plan for the whole time changes nothing and takes the whole time.
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
            # Rounded up, so that the share in the message can be met.
            smallest = math.ceil(best.measured * 100) / 100
            advice = "Ask for more" if smallest <= 1 else "Leave the network dense, ask for macs"
            raise BudgetError(
                f"budget latency={share:g}: cannot be met: the smallest share that was measured for this network is "
                f"{smallest:g}. {advice}, or exclude fewer layers.",
                smallest,
            )
    return best.plan


def _secant(one: tuple[float, float], other: tuple[float, float], goal: float) -> float:
    """Return where the line through two points ``(planned, measured)`` reaches the goal."""
    (planned, measured), (before, measured_before) = other, one
    rise = measured - measured_before
    return planned + (goal - measured) * (planned - before) / rise if rise else math.nan
