"""Ctrl-C, SIGTERM and SIGUSR1, taken at a point where a checkpoint can be saved."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

from dsft.distributed.processes import Processes

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# Windows has none.
SAVE_SIGNAL: signal.Signals | None = getattr(signal, "SIGUSR1", None)


class _BrokenOffError(BaseException):
    """Leaves work in the middle; a BaseException, so that no ``except Exception`` on the way keeps it."""


class StopRequest:
    """Whether a signal has asked the run to stop, or to save and go on.

    Attributes:
        received: The number of the first signal that asks to stop, or None so far.
        save_wanted: SIGUSR1 has asked for a checkpoint; whoever saves one sets it back.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.save_wanted = False
        self._may_break = False

    def is_set(self) -> bool:
        """Say whether a signal has come."""
        return self.received is not None

    def take(self, number: int) -> None:
        """Note the first signal; leave at once where :meth:`run_or_break` is at work."""
        self.received = self.received or number
        if self._may_break:
            self._may_break = False
            raise _BrokenOffError

    def run_or_break(self, work: Callable[[], T]) -> T | None:
        """Return the result of work that may be dropped, or None if a signal came before its end."""
        try:
            self._may_break = not self.is_set()
            result = work() if self._may_break else None
            self._may_break = False
        except _BrokenOffError:
            return None
        finally:
            self._may_break = False
        return result


class AgreedSignals:
    """The signals that have come to any of a run's processes, as all of them know it.

    A signal comes to one process, at any moment; all act on it at the same place.

    Args:
        stop: What has come to this process.
        processes: All of them.

    Attributes:
        number: The number of a signal that asks to stop, or None so far.
        save_wanted: SIGUSR1 has asked for a checkpoint; whoever saves one sets it back.
    """

    def __init__(self, stop: StopRequest, processes: Processes) -> None:
        self.number: int | None = None
        self.save_wanted = False
        self._stop = stop
        self._processes = processes

    def heed(self) -> None:
        """Learn what has come to each of the processes; all call this together."""
        wanted, self._stop.save_wanted = self._stop.save_wanted, False
        told = self._processes.gather_numbers([self._stop.received or 0, wanted])
        self.number = next((number for number, _ in told if number), None)
        self.save_wanted = self.save_wanted or any(wanted for _, wanted in told)


@contextlib.contextmanager
def stop_request(*, is_repeated: bool = False) -> Iterator[StopRequest]:
    """Turn the first Ctrl-C or SIGTERM into a request; a second one acts as it did before the block.

    SIGUSR1 is a request to save, each time. The handlers of before are back after the block. A signal that the
    process ignores (``nohup``, a background job) stays ignored, SIGUSR1 apart, which nothing but a run heeds;
    outside the main thread, where Python takes no signals, nothing changes.

    Args:
        is_repeated: The same signal may come twice, since what started this process passes on what the terminal or the
            batch system has sent to both: a second one changes nothing.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            if signal.getsignal(number) is take:
                signal.signal(number, handler)

    def take(number: int, _frame: FrameType | None) -> None:
        if not is_repeated:
            restore()
        request.take(number)

    def note_save(_number: int, _frame: FrameType | None) -> None:
        request.save_wanted = True

    for number, handler in before.items():
        # None: a handler that was not set from Python and could not be put back.
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, take)
    with _handled(SAVE_SIGNAL, note_save):
        try:
            yield request
        finally:
            restore()


@contextlib.contextmanager
def save_signal_outlived() -> Iterator[None]:
    """Let SIGUSR1, which ends a process that does not know it, pass where there is nothing to save."""
    if threading.current_thread() is threading.main_thread():
        with _handled(SAVE_SIGNAL, signal.SIG_IGN):
            yield
    else:
        yield


@contextlib.contextmanager
def _handled(number: signal.Signals | None, handler: Callable[[int, FrameType | None], None] | int) -> Iterator[None]:
    before = signal.getsignal(number) if number is not None else None
    if number is None or before is None:
        yield
        return
    signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)
