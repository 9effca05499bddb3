"""The smallest cost at which a network keeps its score: a search over budgets."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from dsft.conversion.request import Budget, MaxDrop, Request
from dsft.errors import BudgetError, ConversionError
from dsft.progress import Note, Report

Candidate = TypeVar("Candidate")

RESOLUTION = 0.01
"""Shares nearer to each other than this are not told apart."""

LEAST_SHARE = 1e-6
"""A share that no network can meet, so that asking for it tells the smallest that can be met."""


@dataclass(frozen=True)
class Trial:
    """One budget that was tried: the share of the cost, the score of what came out, and the points lost."""

    share: float
    score: float
    drop: float


def meet_max_drop(
    request: Request,
    drop: MaxDrop,
    convert: Callable[[Request], Candidate],
    score: Callable[[Candidate], float],
    original_score: float,
    report: Report,
) -> tuple[Candidate, tuple[Trial, ...]]:
    """Find the smallest share of a cost at which no more than some points of the score are lost.

    The smallest share that can be met is tried first; then the range up to the whole network is halved, on the
    assumption that more cost loses less, until the share is known to within ``RESOLUTION``. What is measured, as time
    is, may come out otherwise the second time: a share that then cannot be met counts as one that loses too much.

    Args:
        request: What else the conversion is asked for.
        drop: The points that may be lost, and the cost.
        convert: Converts the network as a request with a budget asks.
        score: Scores what came out, in points; more is better.
        original_score: Score of the network before the conversion.
        report: Receives a note on each candidate.

    Returns:
        The cheapest candidate that keeps the score, and all that were tried, in that order.

    Raises:
        ConversionError: None keeps the score, or a score is not finite.
    """
    trials: list[Trial] = []
    best: Candidate | None = None

    def keeps(share: float) -> bool:
        nonlocal best
        try:
            candidate = convert(request.at(Budget(drop.by, share, drop.runtime)))
        except BudgetError as error:
            report(Note(f"budget {drop.by}={share:g}: cannot be met, {error.smallest:g} can"))
            return False
        trial = _judge(share, score(candidate), original_score)
        trials.append(trial)
        is_kept = trial.drop <= drop.points
        best = candidate if is_kept else best
        verdict = "kept" if is_kept else "too much"
        report(Note(f"budget {drop.by}={share:g}: score {trial.score:.2f}, {trial.drop:.2f} points lost ({verdict})"))
        return is_kept

    _judge(1.0, original_score, original_score)
    low, high = _smallest(request, drop, convert), 1.0
    if keeps(low):
        high = low
    while high - low > RESOLUTION:
        middle = round((low + high) / 2, 4)
        low, high = (low, middle) if keeps(middle) else (middle, high)
    if not trials:
        raise ConversionError(
            f"budget max_drop={drop.points:g}: cannot be met: nothing that this network can become costs less "
            f"{drop.by} than it does. Leave it as it is, or name another cost in by."
        )
    if best is None:
        nearest = min(trials, key=lambda trial: trial.drop)
        raise ConversionError(
            f"budget max_drop={drop.points:g}: cannot be met: of {len(trials)} budgets of {drop.by} none keeps the "
            f"score of {original_score:.2f}; the nearest, {nearest.share:g}, loses {nearest.drop:.2f} points. Allow "
            f"more, exclude the layers that matter most, or fit the weights to calibration data."
        )
    return best, tuple(trials)


def _smallest(request: Request, drop: MaxDrop, convert: Callable[[Request], object]) -> float:
    try:
        convert(request.at(Budget(drop.by, LEAST_SHARE, drop.runtime)))
    except BudgetError as error:
        return min(error.smallest, 1.0)
    return LEAST_SHARE


def _judge(share: float, score: float, original_score: float) -> Trial:
    if not math.isfinite(score):
        raise ConversionError(f"score: a finite number is needed, found {score!r} at a share of {share:g}.")
    return Trial(share, float(score), float(original_score - score))
