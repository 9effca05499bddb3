"""TensorBoard: event files in the run's folder, under ``tensorboard``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dsft.tracking.tracker import TrackedRun


class TensorBoardTracker:
    """Writes event files.

    Args:
        library: The module ``torch.utils.tensorboard``.
        run: The run; when it resumes, what was logged after the checkpoint is hidden.
    """

    def __init__(self, library: Any, run: TrackedRun) -> None:
        purge = None if run.resumed_step is None else run.resumed_step + 1
        self._writer = library.SummaryWriter(log_dir=str(run.folder / "tensorboard"), purge_step=purge)
        if run.resumed_step is None:
            recipe = json.dumps(run.config, indent=2)
            self._writer.add_text("recipe", f"{run.name}\n\n```\n{recipe}\n```")

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Write the values of a step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, *, succeeded: bool) -> None:
        """Close the files."""
        del succeeded
        self._writer.close()
