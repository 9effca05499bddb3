"""What several processes must agree on, because each may see something else: signals, and the time."""

from __future__ import annotations

from dsft.distributed.processes import Processes
from dsft.training.checkpointing.interruption import StopRequest


class Agreement:
    """The decisions of a run that depend on signals and clocks, the same in all processes.

    A signal is delivered to one process, at any moment; all act on it after the same step.

    Args:
        stop: The signals that this process has received.
        processes: The processes of the run.

    Attributes:
        signal: Number of a signal that asks to stop, or None.
        save_requested: SIGUSR1 has asked for a checkpoint; reset it when one is saved.
        is_save_due: The time between two checkpoints is over.
    """

    def __init__(self, stop: StopRequest, processes: Processes) -> None:
        self.signal: int | None = None
        self.save_requested = False
        self.is_save_due = False
        self._stop = stop
        self._processes = processes

    def update(self, *, is_save_due: bool, sync_steps: int) -> int:
        """Exchange what each process has seen; all call it together.

        Args:
            is_save_due: The time between two checkpoints is over by this process's clock.
            sync_steps: Number of steps until the next synchronization that this process proposes.

        Returns:
            The number that process 0 proposes.
        """
        requested, self._stop.save_wanted = self._stop.save_wanted, False
        numbers = [self._stop.received or 0, requested, is_save_due, sync_steps]
        found = self._processes.gather_numbers(numbers)
        self.signal = next((received for received, *_ in found if received), None)
        self.save_requested = self.save_requested or any(requested for _, requested, _, _ in found)
        self.is_save_due = any(is_due for _, _, is_due, _ in found)
        return found[0][3]
