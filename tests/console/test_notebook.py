from __future__ import annotations

import re

from dsft.console.notebook import notebook_progress
from dsft.progress import Advanced, EpochDone, Finished, Note, Started


class Cell:
    """The output of a cell: everything that was displayed in it, one after the other."""

    def __init__(self) -> None:
        self.htmls: list[str] = []
        self.texts: list[str] = []

    def show(self, html: str, text: str) -> None:
        self.htmls.append(html)
        self.texts.append(text)


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_lines_accumulate_above_the_running_task_and_remain_without_it() -> None:
    cell = Cell()
    report = notebook_progress(cell.show, Clock())
    report(Note("loaded <b>model</b>"))
    report(Started("training", 20, "steps", epochs=2))
    report(EpochDone(1, 2, {"train_loss": 0.5}, best=True))
    assert [line.split()[:2] for line in cell.texts[-1].splitlines()] == [
        ["loaded", "<b>model</b>"],
        ["epoch", "train"],
        ["1/2", "0.5000"],
        ["epoch", "1/2"],
    ]
    report(Finished("training", "trained 2 epochs"))
    assert cell.texts[-1].splitlines()[-1] == "trained 2 epochs"
    assert "<b>model</b>" not in cell.htmls[-1]
    assert "loaded &lt;b&gt;model&lt;/b&gt;" in cell.htmls[-1]


def test_a_fast_task_is_drawn_four_times_a_second() -> None:
    cell, clock = Cell(), Clock()
    report = notebook_progress(cell.show, clock)
    report(Started("training", 1000, "steps", epochs=1))
    for step in range(1, 1001):
        clock.seconds += 0.01
        report(Advanced("training", step, {"loss": 1 / step}))
    assert 35 <= len(cell.texts) <= 42
    assert re.search(r"epoch 1/1 +━+.* 100 steps/s  0:0\d left  loss 0\.0", cell.texts[-1])
