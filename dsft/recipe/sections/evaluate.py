"""``evaluate``: what is measured, and what that decides."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dsft.choices import SplitName
from dsft.recipe.sections.base import Section


class EvaluateSection(Section):
    """What is measured, what chooses the best weights, and when to stop."""

    monitor: Literal["val/top1", "val/top5", "val/loss", "val/macro_f1"] = "val/top1"
    """The metric that chooses the best weights; ties keep the earlier."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many epochs without a better metric."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """How much better counts as better for `patience`."""
    splits: list[SplitName] = [SplitName.VAL, SplitName.TEST]
    """The splits that the final weights are scored on."""
