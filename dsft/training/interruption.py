"""Ctrl-C and SIGTERM, taken at a point where a checkpoint can be saved."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _BrokenOffError(BaseException):
    """Leaves work in the middle; a BaseException, so that no ``except Exception`` on the way keeps it."""


class StopRequest:
    """Whether a signal has asked the run to stop.

    Attributes:
        received: The first signal's number, or None so far.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._may_break = False

    def is_set(self) -> bool:
        """Say whether a signal has come."""
        return self.received is not None

    def take(self, number: int) -> None:
        """Note a signal; leave at once where :meth:`run_or_break` is at work."""
        self.received = number
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


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Turn the first Ctrl-C or SIGTERM into a request; a second one acts as it did before the block.

    The handlers of before are back after the block. A signal that the process ignores (``nohup``,
    a background job) stays ignored; outside the main thread, where Python takes no signals, nothing changes.
    """
    request = StopRequest()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            if signal.getsignal(number) is take:
                signal.signal(number, handler)

    def take(number: int, _frame: FrameType | None) -> None:
        restore()
        request.take(number)

    if threading.current_thread() is threading.main_thread():
        for number, handler in before.items():
            # None: a handler that was not set from Python and could not be put back.
            if handler not in (signal.SIG_IGN, None):
                signal.signal(number, take)
    try:
        yield request
    finally:
        if threading.current_thread() is threading.main_thread():
            restore()
