"""The best epochs, and when to stop: functions of the monitored figures so far.

Nothing is remembered between epochs, so that a resumed run decides as the unbroken one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dsft.errors import RecipeError, did_you_mean
from dsft.training.settings import StoppingSettings


def monitored(values: Mapping[str, float], monitor: str) -> float:
    """Return the monitored figure, turned so that larger is better.

    Raises:
        RecipeError: The validation gave no such figure.
    """
    if monitor not in values:
        raise RecipeError(
            f"evaluate.monitor: must name a figure of the validation, found {monitor!r}."
            f"{did_you_mean(monitor, values)} Valid are {', '.join(values)}."
        )
    return -values[monitor] if monitor.endswith("loss") else values[monitor]


def best_indices(scores: Sequence[float], count: int) -> list[int]:
    """Return the indices of the largest scores, the best first and of equal ones the earlier; fewer where there are."""
    return sorted(range(len(scores)), key=lambda index: (-scores[index], index))[:count]


def best_index(scores: Sequence[float]) -> int:
    """Return the index of the largest score; of equal ones the earliest."""
    return best_indices(scores, 1)[0]


def has_stalled(scores: Sequence[float], settings: StoppingSettings) -> bool:
    """Say whether the last ``patience`` scores brought nothing better by more than ``min_delta``."""
    if settings.patience is None:
        return False
    reference = 0
    for index, score in enumerate(scores):
        if score - scores[reference] > settings.min_delta:
            reference = index
    return len(scores) - 1 - reference >= settings.patience
