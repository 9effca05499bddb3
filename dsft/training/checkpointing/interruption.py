"""Ctrl-C, SIGTERM and SIGUSR1, handled at a point where a checkpoint can be saved."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# Windows has none.
SAVE_SIGNAL: signal.Signals | None = getattr(signal, "SIGUSR1", None)


class _AbortedError(BaseException):
    """Leaves work in the middle; a BaseException, so that no ``except Exception`` on the way catches it."""


class StopRequest:
    """Whether a signal has asked the run to stop, or to save and continue.

    Attributes:
        received: Number of the first signal that asks to stop, or None so far.
        save_wanted: SIGUSR1 has asked for a checkpoint; reset it when one is saved.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.save_wanted = False
        self._may_abort = False

    def is_set(self) -> bool:
        """Whether a signal has asked the run to stop."""
        return self.received is not None

    def take(self, number: int) -> None:
        """Record the first signal; abort the work of :meth:`run_or_abort` at once."""
        self.received = self.received or number
        if self._may_abort:
            self._may_abort = False
            raise _AbortedError

    def run_or_abort(self, work: Callable[[], T]) -> T | None:
        """Return the result of work that may be dropped, or None if a signal came before its end."""
        try:
            self._may_abort = not self.is_set()
            result = work() if self._may_abort else None
            self._may_abort = False
        except _AbortedError:
            return None
        finally:
            self._may_abort = False
        return result


@contextlib.contextmanager
def stop_request(*, is_repeated: bool = False) -> Iterator[StopRequest]:
    """Turn the first Ctrl-C or SIGTERM into a request; a second one has the effect that it had before the block.

    SIGUSR1 is a request to save, each time. The previous handlers are restored after the block. A signal that the
    process ignores (``nohup``, a background job) stays ignored, except SIGUSR1, which has no other meaning here;
    outside the main thread, where Python receives no signals, nothing changes.

    Args:
        is_repeated: The same signal may come twice, because the launcher forwards what the terminal or the batch system
            has sent to both: a second one has no effect.
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

    def request_save(_number: int, _frame: FrameType | None) -> None:
        request.save_wanted = True

    for number, handler in before.items():
        # None: a handler that was not set from Python and could not be restored.
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, take)
    with _handled(SAVE_SIGNAL, request_save):
        try:
            yield request
        finally:
            restore()


@contextlib.contextmanager
def ignored_save_signal() -> Iterator[None]:
    """Ignore SIGUSR1 while there is nothing to save, since its default action ends the process."""
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
