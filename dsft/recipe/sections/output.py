"""``output`` and ``log``: where results go, and what is shown meanwhile."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dsft.choices import ProgressMode, TrackerName
from dsft.recipe.sections.base import Section


class OutputSection(Section):
    """Where the results go."""

    dir: str = "runs/${name}"
    """The run's folder."""
    save_every: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(ep|it|min)$", examples=["10min", "200it", "1ep"])] = (
        "10min"
    )
    """How often the state is saved from which `--resume` goes on: minutes, steps or epochs. It is saved as well before
    the first step, after the last, and when a signal (Ctrl-C, SIGTERM, SIGUSR1) asks for it."""
    keep_best: Annotated[int, Field(ge=1)] = 1
    """How many of the best epochs, by `evaluate.monitor`, the final weights are the mean of: parameters and running
    statistics alike. 1 takes the best epoch's as they are."""


class LogSection(Section):
    """What is shown meanwhile."""

    progress: ProgressMode = ProgressMode.AUTO
    """`rich` (live), `plain` (lines), `off`; `auto` is live on a terminal and plain elsewhere."""
    to: list[TrackerName] = [TrackerName.JSONL]
    """Where the figures of every epoch and the final scores go: `tensorboard` (the run's folder), `wandb` and `mlflow`
    (where their own environment variables say); `jsonl` (`metrics.jsonl`) is always written."""
