from __future__ import annotations

import pytest

from dsft.console.plain import plain_progress
from dsft.progress import Advanced, EpochDone, Finished, Note, Started, Warn


class _Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_running_tasks_have_one_line_in_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = _Clock()
    report = plain_progress(clock=clock)
    report(Started("train", 1000, "steps"))
    for step in range(1, 301):
        clock.seconds += 0.1
        report(Advanced("train", step, {"loss": 0.5}))
    report(Finished("train"))
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) in (2, 3)
    assert lines[0].startswith("train   101/1000")
    assert lines[1].endswith("10 steps/s  1:20 left  loss 0.5000")


def test_epochs_notes_and_warnings_have_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    report = plain_progress(clock=_Clock())
    report(Note("a note that goes on" + " and on" * 40))
    report(Warn("careful [red]now[/red]"))
    report(EpochDone(3, 12, {"train_loss": 0.25}, False))
    assert capsys.readouterr().err.splitlines() == [
        "a note that goes on" + " and on" * 40,
        "warning: careful [red]now[/red]",
        "epoch        train loss",
        "epoch  3/12      0.2500",
    ]
