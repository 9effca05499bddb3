"""Search for the smallest cost at which a network keeps its score."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from dsft.conversion.budget import MaxDrop
from dsft.errors import BudgetError, ConversionError
from dsft.progress import Note, Report, ignore

Result = TypeVar("Result")

RESOLUTION = 0.01
"""The share of the cost is determined to within this difference."""


@dataclass(frozen=True)
class Trial:
    """One budget that was tried: the share of the cost, the score of the result, and the points lost."""

    share: float
    score: float
    drop: float


@dataclass(frozen=True)
class Search(Generic[Result]):
    """What a search needs.

    Attributes:
        attempt: Returns the result for a share of the cost.
        score: Scores a result, in points; more is better.
        original_score: Score of the original network.
        least: The smallest share that can be met.
    """

    attempt: Callable[[float], Result]
    score: Callable[[Result], float]
    original_score: float
    least: float


def find_cheapest(drop: MaxDrop, search: Search[Result], report: Report = ignore) -> tuple[Result, tuple[Trial, ...]]:
    """Find the smallest share of a cost at which no more than some points of the score are lost.

    The smallest share that can be met is tried first. Then the range up to the whole network is bisected, assuming
    that a larger share loses less, until the share is known to within ``RESOLUTION``. A latency may measure otherwise
    the second time: a share that cannot be met then counts as one that loses too much.

    Args:
        drop: The points that may be lost, and the cost.
        search: How to make and score results.
        report: Receives a note on each trial.

    Returns:
        The cheapest result that keeps the score, and all trials in their order.

    Raises:
        ConversionError: No result keeps the score, or a score is not finite.
    """
    trials: list[Trial] = []
    kept: list[Result] = []

    def keeps(share: float) -> bool:
        try:
            result = search.attempt(share)
        except BudgetError as error:
            report(Note(f"budget {drop.by}={share:g}: cannot be met, {error.smallest:g} can"))
            return False
        trial = _judge(share, search.score(result), search.original_score)
        trials.append(trial)
        is_kept = trial.drop <= drop.points
        if is_kept:
            kept[:] = [result]
        verdict = "kept" if is_kept else "too much"
        report(Note(f"budget {drop.by}={share:g}: score {trial.score:.2f}, {trial.drop:.2f} points lost ({verdict})"))
        return is_kept

    _judge(1.0, search.original_score, search.original_score)
    low, high = search.least, 1.0
    if keeps(low):
        high = low
    while high - low > RESOLUTION:
        middle = round((low + high) / 2, 4)
        low, high = (low, middle) if keeps(middle) else (middle, high)
    if not kept:
        raise ConversionError(_nothing_keeps(drop, trials, search.original_score))
    return kept[0], tuple(trials)


def _nothing_keeps(drop: MaxDrop, trials: list[Trial], original_score: float) -> str:
    start = f"budget max_drop={drop.points:g}: cannot be met:"
    if not trials:
        return (
            f"{start} no conversion of this network costs less {drop.by} than the network itself. Leave it dense, or "
            "name another cost with by."
        )
    nearest = min(trials, key=lambda trial: trial.drop)
    return (
        f"{start} of {len(trials)} budgets of {drop.by} none keeps the score of {original_score:.2f}; the nearest, "
        f"{nearest.share:g}, loses {nearest.drop:.2f} points. Allow more points, exclude the layers that matter most, "
        "or fit the weights to calibration data."
    )


def _judge(share: float, score: float, original_score: float) -> Trial:
    if not math.isfinite(score):
        raise ConversionError(f"score: a finite number is needed, found {score!r} at a share of {share:g}.")
    return Trial(share, float(score), float(original_score - score))
