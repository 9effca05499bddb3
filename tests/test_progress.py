from __future__ import annotations

import pytest

from dsft.progress import Advanced, Event, Finished, Started, report_task


def test_a_completed_task_ends_with_its_summary() -> None:
    events: list[Event] = []
    with report_task(events.append, "refitting layers", 2, "layers", "refitted 2 layers") as advance:
        advance(1)
        advance(2, {"error": 0.5})
    assert events == [
        Started("refitting layers", 2, "layers"),
        Advanced("refitting layers", 1),
        Advanced("refitting layers", 2, {"error": 0.5}),
        Finished("refitting layers", "refitted 2 layers"),
    ]


def fail(events: list[Event], error: BaseException) -> None:
    with report_task(events.append, "refitting layers", 2, "layers", "refitted 2 layers"):
        raise error


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_task_that_an_error_stops_ends_without_a_summary(error: BaseException) -> None:
    events: list[Event] = []
    with pytest.raises(type(error)):
        fail(events, error)
    assert events[-1] == Finished("refitting layers")
