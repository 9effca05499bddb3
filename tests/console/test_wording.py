from __future__ import annotations

import pytest

from dsft.console.wording import duration, figure, sentence
from dsft.progress import EpochDone, Note, Warn


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.123456, "0.1235"), (97.2222, "97.22"), (100.0, "100"), (1e-05, "1e-05"), (12345.6, "12346"), (0, "0")],
)
def test_a_figure_has_four_digits_and_none_too_few(value: float, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(("value", "text"), [(float("nan"), "nan"), (float("inf"), "inf"), (1e300, "1e+300")])
def test_odd_figures_are_shown_too(value: float, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3599, "59:59"), (36061, "10:01:01")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Note("loaded"), "loaded"),
        (Warn("weak"), "warning: weak"),
        (EpochDone(3, 10, {"epoch": 3, "step": 9, "val/top1": 97.2222}, True), "epoch  3/10 best  val/top1=97.22"),
        (EpochDone(10, 10, {"val/top1": 97.0}, False), "epoch 10/10       val/top1=97"),
    ],
)
def test_sentences(event: Note | Warn | EpochDone, text: str) -> None:
    assert sentence(event) == text
