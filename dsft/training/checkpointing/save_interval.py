"""When the state of a run is saved: by steps, by epochs or by the clock."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from dsft.errors import RecipeError

_INTERVAL = re.compile(r"(\d+(?:\.\d+)?)(ep|it|min)")


class SaveInterval:
    """Says after which steps a checkpoint is due.

    Args:
        interval: ``200it`` (steps), ``1ep`` (epochs) or ``10min`` (minutes since the last one).
        steps_per_epoch: Optimizer steps in one epoch.
        clock: Returns seconds; its zero means nothing, and nobody sets it.

    Raises:
        RecipeError: It is none of these, or no step long.
    """

    def __init__(self, interval: str, steps_per_epoch: int, clock: Callable[[], float] = time.monotonic) -> None:
        match = _INTERVAL.fullmatch(interval)
        amount = float(match[1]) if match else 0.0
        if match is None or amount == 0:
            raise RecipeError(
                f"output.save_every: expected such as '10min', '200it' (steps) or '1ep' (epochs), found {interval!r}."
            )
        per_unit = steps_per_epoch if match[2] == "ep" else 1
        self._steps = None if match[2] == "min" else max(round(amount * per_unit), 1)
        self._seconds = 60 * amount
        self._clock = clock
        self._saved_at = clock()

    def is_due(self, step: int) -> bool:
        """Say whether to save when ``step`` steps are behind."""
        if self._steps is not None:
            return step % self._steps == 0
        return self._clock() - self._saved_at >= self._seconds

    def restart(self) -> None:
        """Count the minutes from now on: a checkpoint was saved."""
        self._saved_at = self._clock()
