from __future__ import annotations

import pytest

from dsft.console.epochs import EpochTable
from dsft.progress import EpochDone


def epoch(number: int, best: bool = False, epochs: int = 20, **changes: float) -> EpochDone:
    values = {
        "epoch": number,
        "step": 10 * number,
        "lr": 1.37e-06,
        "train_loss": 2.16894,
        "val/loss": 10.5,
        "val/top1": 97.2222,
        "val/top5": 100.0,
        "val/macro_f1": 0.971944,
        "seconds": 61.4,
        "images_per_second": 203.7,
        "data_share": 0.0715,
    }
    return EpochDone(number, epochs, {**values, **changes}, best)


def test_the_header_comes_once_and_every_epoch_is_a_row_under_it() -> None:
    table = EpochTable(120)
    header, first = table.add(epoch(9, best=True))
    (second,) = table.add(epoch(10, lr=0.00054, seconds=5.0))
    assert " ".join(header.split()) == (
        "epoch train loss val loss top-1 % top-5 % macro F1 % lr time images/s data wait %"
    )
    # Scores are in percent, also those that are fractions in metrics.jsonl.
    assert " ".join(first.split()) == "9/20 2.1689 10.5000 97.22 100.00 97.19 1.37e-06 1:01 204 7 best"
    assert " ".join(second.split()) == "10/20 2.1689 10.5000 97.22 100.00 97.19 0.00054 0:05 204 7"
    assert first.index("2.1689") == second.index("2.1689")
    for heading, cell in (("train loss", "2.1689"), ("top-1 %", "97.22"), ("time", "0:05")):
        assert header.index(heading) + len(heading) == second.index(cell) + len(cell)


@pytest.mark.parametrize("width", [12, 20, 40, 60, 80, 100])
def test_on_a_narrow_terminal_the_least_important_columns_are_left_out(width: int) -> None:
    header, row = EpochTable(width).add(epoch(3, best=True))
    assert max(len(header), len(row)) <= width
    assert ("top-1 %" in header) == (width >= 20)
    assert ("train loss" in header) == (width >= 40 + 20)
    assert ("macro F1 %" in header) == (width >= 80)
    assert "data wait %" not in header


def test_in_a_log_every_row_is_found_by_the_word_epoch() -> None:
    table = EpochTable()
    lines = [*table.add(epoch(9, epochs=100)), *table.add(epoch(10, epochs=100))]
    assert [line.split()[:2] for line in lines] == [["epoch", "train"], ["epoch", "9/100"], ["epoch", "10/100"]]
    assert len({line.index("/100") for line in lines[1:]}) == 1
    assert len(set(map(len, lines))) == 1


def test_the_scores_of_another_task_and_unknown_ones_are_shown() -> None:
    event = EpochDone(1, 2, {"val/loss": 0.5, "val/map": 0.5, "val/rmse": 31.4159, "lr": 0.1}, best=False)
    header, row = EpochTable(80).add(event)
    assert header.split() == ["epoch", "val", "loss", "mAP", "%", "rmse", "lr"]
    assert row.split() == ["1/2", "0.5000", "50.00", "31.42", "0.1"]


def test_a_metric_that_a_later_epoch_lacks_leaves_its_column_empty() -> None:
    table = EpochTable(80)
    table.add(EpochDone(1, 2, {"train_loss": 1.0, "val/top1": 50.0}, best=True))
    (row,) = table.add(EpochDone(2, 2, {"train_loss": 1.0, "val/top5": 90.0}, best=False))
    assert row.split() == ["2/2", "1.0000", "-"]
