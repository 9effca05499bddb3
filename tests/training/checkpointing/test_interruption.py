from __future__ import annotations

import os
import signal
import threading

import pytest

from dsft.training.checkpointing.interruption import StopRequest, stop_request

BOTH = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", BOTH)
def test_the_first_signal_is_a_request(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in BOTH]
    with stop_request() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.received == number
    assert [signal.getsignal(each) for each in BOTH] == before


def test_a_second_ctrl_c_acts_at_once() -> None:
    with stop_request():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_back_after_an_exception() -> None:
    before = [signal.getsignal(each) for each in BOTH]
    with pytest.raises(KeyError), stop_request():
        raise KeyError
    assert [signal.getsignal(each) for each in BOTH] == before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_request() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop.is_set()
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_changes_no_handler() -> None:
    before = [signal.getsignal(each) for each in BOTH]
    seen: list[object] = []

    def look() -> None:
        with stop_request():
            seen.extend(signal.getsignal(each) for each in BOTH)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == before


def test_breakable_work_is_left_at_the_signal() -> None:
    done = []

    def work() -> str:
        done.append("begun")
        os.kill(os.getpid(), signal.SIGINT)
        done.append("ended")
        return "result"

    with stop_request() as stop:
        assert stop.run_or_abort(work) is None
        assert stop.received == signal.SIGINT
        assert stop.run_or_abort(work) is None
    assert done == ["begun"]


def test_breakable_work_gives_its_result_and_its_errors() -> None:
    def fail() -> None:
        raise KeyError("own")

    stop = StopRequest()
    assert stop.run_or_abort(lambda: 3) == 3
    with pytest.raises(KeyError, match="own"):
        stop.run_or_abort(fail)
    stop.take(signal.SIGINT)
    assert stop.is_set()
