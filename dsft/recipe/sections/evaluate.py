"""``evaluate``: what is measured, and what that decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from dsft.choices import SplitName, TaskName
from dsft.recipe.sections.base import Section

MONITORS: Mapping[TaskName, tuple[str, ...]] = {
    TaskName.CLASSIFICATION: ("val/top1", "val/top5", "val/loss", "val/macro_f1"),
    TaskName.MULTI_LABEL: ("val/map", "val/exact_match", "val/micro_f1", "val/macro_f1", "val/loss"),
}
"""What each task can be watched by; the first is what ``auto`` takes."""


class EvaluateSection(Section):
    """What is measured, what chooses the best weights, and when to stop."""

    monitor: Literal[
        "auto", "val/top1", "val/top5", "val/loss", "val/macro_f1", "val/map", "val/micro_f1", "val/exact_match"
    ] = "auto"
    """The metric that chooses the best weights; ties keep the earlier. `auto` is `val/top1`, and with several labels an
    image `val/map`; `map`, `micro_f1` and `exact_match` are theirs alone, `top1` and `top5` those of one class."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many epochs without a better metric."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """How much better counts as better for `patience`."""
    splits: list[SplitName] = [SplitName.VAL, SplitName.TEST]
    """The splits that the final weights are scored on."""
