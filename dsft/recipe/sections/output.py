"""``output`` and ``log``: where results are written, and how progress is reported."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dsft.choices import ProgressMode, TrackerName
from dsft.recipe.sections.base import Section


class OutputSection(Section):
    """Where the results are written."""

    dir: str = "runs/${name}"
    """The run folder."""
    save_every: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(ep|it|min)$", examples=["10min", "200it", "1ep"])] = (
        "10min"
    )
    """Interval between checkpoints for `--resume`, in minutes, steps or epochs. A checkpoint is also saved before the
    first step, after the last, and on a signal (Ctrl-C, SIGTERM, SIGUSR1)."""
    keep_best: Annotated[int, Field(ge=1)] = 1
    """Number of best epochs, by `evaluate.monitor`, whose weights and running statistics are averaged into the final
    weights. 1 takes the best epoch's weights unchanged."""


class LogSection(Section):
    """How progress is reported and logged."""

    progress: ProgressMode = ProgressMode.AUTO
    """`rich` (live display), `plain` (lines), `off`; `auto` is `rich` on a terminal and `plain` elsewhere."""
    to: list[TrackerName] = [TrackerName.JSONL]
    """Where metrics are logged: `tensorboard` (in the run folder), `wandb` and `mlflow` (configured by their own
    environment variables). `jsonl` (`metrics.jsonl` in the run folder) is always written."""
