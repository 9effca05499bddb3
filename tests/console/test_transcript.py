from __future__ import annotations

import pytest

from dsft.console.epochs import EpochTable
from dsft.console.transcript import Kind, Line, Transcript
from dsft.progress import Advanced, CheckpointSaved, EpochDone, Event, Finished, Note, Started, StoppedEarly, Warn


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.parametrize(("seconds", "text"), [(92, "refitted 17 layers, 1:32"), (0.4, "refitted 17 layers")])
def test_a_completed_task_leaves_its_summary_and_how_long_it_took(seconds: float, text: str) -> None:
    clock = Clock()
    transcript = Transcript(EpochTable(), clock)
    assert transcript.add(Started("refitting layers", 17, "layers")) == []
    clock.seconds += seconds
    assert transcript.add(Advanced("refitting layers", 17)) == []
    assert list(transcript.tasks) == ["refitting layers"]
    assert transcript.add(Finished("refitting layers", "refitted 17 layers")) == [Line(text)]
    assert transcript.tasks == {}


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        (Note("loaded"), [Line("loaded")]),
        (Warn("weak"), [Line("warning: weak", Kind.WARNING)]),
        (Finished("never started", "done"), []),
        (
            StoppedEarly(4, 9, 2, "val/top1", 3, 97.5),
            [
                Line(
                    "stopped early after epoch 4 of 9: top-1 has not improved for 2 epochs (evaluate.patience). Best: "
                    "epoch 3, top-1 97.50 %"
                )
            ],
        ),
        (CheckpointSaved(3), []),
    ],
)
def test_messages_remain_and_other_events_do_not(event: Event, lines: list[Line]) -> None:
    assert Transcript(EpochTable()).add(event) == lines


def test_a_task_without_a_summary_leaves_nothing() -> None:
    transcript = Transcript(EpochTable())
    transcript.add(Started("evaluating on val", 2, "images"))
    assert transcript.add(Finished("evaluating on val")) == []


def test_epochs_are_rows_and_the_best_are_marked() -> None:
    transcript = Transcript(EpochTable())
    header, first = transcript.add(EpochDone(1, 2, {"val/top1": 97.0}, True))
    (second,) = transcript.add(EpochDone(2, 2, {"val/top1": 96.0}, False))
    assert [line.kind for line in (header, first, second)] == [Kind.HEADER, Kind.BEST_EPOCH, Kind.EPOCH]
    assert (first.text, second.text) == ("epoch 1/2    97.00  best", "epoch 2/2    96.00")
