"""After which steps the host waits for the device and for the other processes."""

from __future__ import annotations

import time
from collections.abc import Callable

SYNC_SECONDS = 0.25
"""Time between two synchronizations: a signal is handled, and a loss that is not finite noticed, within this time."""
MAX_STEPS = 50


class SyncInterval:
    """The number of steps between two synchronizations, adapted to the time of a step.

    In between, losses stay on the device and the processes exchange nothing but gradients.

    Args:
        is_every_step: Synchronize after every step, which costs nothing for a single process on a CPU.
        clock: Returns the time in seconds; must be monotonic.
    """

    def __init__(self, *, is_every_step: bool, clock: Callable[[], float] = time.perf_counter) -> None:
        self._max_steps = 1 if is_every_step else MAX_STEPS
        self._clock = clock
        self._steps = 1
        self.start(0)

    def start(self, step: int) -> None:
        """Start the clock at a step, after time that is not training; the number of steps stays the same."""
        self._started, self._since = step, self._clock()

    def is_due(self, step: int) -> bool:
        """Whether to synchronize after ``step`` completed steps."""
        return step >= self._started + self._steps

    def propose(self, step: int) -> int:
        """Return the number of steps until the next synchronization that this process's clock suggests."""
        steps, seconds = step - self._started, self._clock() - self._since
        if steps <= 0 or seconds <= 0:
            return self._steps
        return min(max(int(SYNC_SECONDS * steps / seconds), 1), self._max_steps)

    def restart(self, step: int, steps: int) -> None:
        """Begin the next interval after a synchronization; ``steps`` is the same in all processes."""
        self._steps = steps
        self.start(step)
