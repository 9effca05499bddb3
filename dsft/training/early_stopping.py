"""The best epochs, and when to stop, as functions of the monitored metric so far.

There is no other state, so that a resumed run decides as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dsft.errors import RecipeError, did_you_mean
from dsft.training.settings import StoppingSettings


def monitored(values: Mapping[str, float], monitor: str) -> float:
    """Return the monitored metric, negated if smaller is better.

    Raises:
        RecipeError: There is no such metric.
    """
    if monitor not in values:
        raise RecipeError(
            f"evaluate.monitor: must be a metric of the validation, found {monitor!r}."
            f"{did_you_mean(monitor, values)} Valid are {', '.join(values)}."
        )
    return -values[monitor] if monitor.endswith("loss") else values[monitor]


def best_indices(scores: Sequence[float], count: int) -> list[int]:
    """Return the indices of the ``count`` largest scores, the best first; of equal scores the earlier comes first."""
    return sorted(range(len(scores)), key=lambda index: (-scores[index], index))[:count]


def best_index(scores: Sequence[float]) -> int:
    """Return the index of the largest score; of equal scores the earliest."""
    return best_indices(scores, 1)[0]


def has_stalled(scores: Sequence[float], settings: StoppingSettings) -> bool:
    """Whether none of the last ``patience`` scores was an improvement by more than ``min_delta``."""
    if settings.patience is None:
        return False
    reference = 0
    for index, score in enumerate(scores):
        if score - scores[reference] > settings.min_delta:
            reference = index
    return len(scores) - 1 - reference >= settings.patience
