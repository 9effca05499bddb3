"""Weights & Biases; its environment variables, such as ``WANDB_MODE=offline``, say where and how to log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsft.tracking.tracker import PROJECT, TrackedRun


class WandbTracker:
    """Logs to a W&B run.

    Args:
        library: The module ``wandb``.
        run: The run, in whose folder W&B keeps its files.
    """

    def __init__(self, library: Any, run: TrackedRun) -> None:
        self._run = library.init(
            project=PROJECT,
            name=run.name,
            id=run.identity,
            resume="allow" if run.resumed_step is not None else "never",
            dir=str(run.folder),
            config=dict(run.config),
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log the values of a step."""
        self._run.log(dict(values), step=step)

    def close(self, *, succeeded: bool) -> None:
        """Finish the W&B run."""
        self._run.finish(exit_code=0 if succeeded else 1)
