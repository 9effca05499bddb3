"""When a checkpoint is saved: after a number of steps, epochs or minutes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from dsft.errors import RecipeError

_INTERVAL = re.compile(r"(\d+(?:\.\d+)?)(ep|it|min)")


class SaveInterval:
    """Decides after which steps a checkpoint is due.

    Args:
        interval: ``200it`` (steps), ``1ep`` (epochs) or ``10min`` (minutes since the last one).
        steps_per_epoch: Optimizer steps in an epoch.
        clock: Returns the time in seconds; must be monotonic.

    Raises:
        RecipeError: The interval has another form, or is zero.
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
        """Whether to save after ``step`` completed steps."""
        if self._steps is None:
            return self._clock() - self._saved_at >= self._seconds
        return self.is_due_by_step(step)

    def is_due_by_step(self, step: int) -> bool:
        """Whether the number of steps alone, which is the same in all processes, makes a checkpoint due."""
        return self._steps is not None and step % self._steps == 0

    def restart(self) -> None:
        """Start to count the minutes: a checkpoint was saved."""
        self._saved_at = self._clock()
