from __future__ import annotations

from dsft.assembly.val_score import NotScored, Scores
from dsft.assembly.verdict import Verdict
from dsft.choices import SplitName
from dsft.console import verdict_lines
from dsft.tasks import MetricSpec

TOP1 = MetricSpec("top1", "top-1", 1)


def test_accuracy_and_time_have_a_line_each() -> None:
    scores = Scores(SplitName.VAL, 1200, 1200, TOP1, 54.75, 54.0)
    assert verdict_lines(Verdict(scores, 2.0, 1.5, "eager", ())).splitlines() == [
        "Verdict",
        "top-1 on val: 54.75 % -> 54.00 % (-0.75 points, 1,200 images)",
        "time: 2.00 ms -> 1.50 ms (x 0.750, eager)",
    ]


def test_a_part_of_the_split_is_counted_against_the_whole() -> None:
    scores = Scores(SplitName.VAL, 2000, 10_000, TOP1, 54.75, 54.0)
    line = verdict_lines(Verdict(scores, 2.0, 1.5, "eager", ())).splitlines()[1]
    assert line.endswith("(-0.75 points, scored on 2,000 of 10,000 images of val)")


def test_the_reason_for_a_missing_score_is_printed() -> None:
    lines = verdict_lines(Verdict(NotScored("there are no images."), 2.0, 1.5, "eager", ())).splitlines()
    assert lines[1] == "accuracy: not scored, since there are no images."
