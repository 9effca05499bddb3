from __future__ import annotations

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from dsft.console import build_table, calibration_table, metrics_table, per_class_table
from dsft.tasks import CalibratedMetrics, ClassificationMetrics, ClassMetrics


def _metrics(classes: int = 4, skipped: int = 0, has_temperature: bool = False) -> ClassificationMetrics:
    rows = (ClassMetrics(f"class {number}", 0.5, 0.25, number / classes, 9) for number in range(classes))
    return ClassificationMetrics(
        split="test",
        count=1234567,
        skipped=skipped,
        loss=10.1234,
        top1=100.0,
        top1_interval=(98.765, 100.0),
        top5=100.0,
        macro_precision=0.11,
        macro_recall=0.22,
        macro_f1=0.33,
        ece=0.0123,
        nll=10.1234,
        brier=0.4567,
        calibrated=CalibratedMetrics(1.5, "val", 0.005, 9.5, 0.45) if has_temperature else None,
        per_class=tuple(rows),
    )


def _lines(table: Table, width: int = 80) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()


@pytest.mark.parametrize("skipped", [0, 12])
def test_the_scores_of_models_fit_80_columns_with_every_digit(skipped: int) -> None:
    deep = "/home/someone/with/a/deep/folder/runs/quickstart/model"
    lines = _lines(metrics_table([("runs/digits_dense/model", _metrics()), (deep, _metrics(skipped=skipped))]))
    assert max(map(cell_len, lines)) <= 80
    heading = (
        "model split images skipped loss top-1 95 % CI top-5 macro F1"
        if skipped
        else ("model split images loss top-1 95 % CI top-5 macro F1")
    )
    assert lines[0].strip() == "Scores in percent, loss in nats"
    assert lines[1].split() == heading.split()
    numbers = ["test", "1234567", *(["12"] if skipped else []), "10.1234", "100.00", "98.8-100.0"]
    numbers += ["100.00", "33.00"]
    assert any(line.split()[1:] == numbers for line in lines)
    # Folded, and whole when the pieces are put together.
    first = next(number for number, line in enumerate(lines) if line.startswith("/home"))
    assert "".join(line.split()[0] for line in lines[first:]) == deep


def test_times_stand_beside_the_scores_where_they_are_known() -> None:
    rows = [("teacher", _metrics()), ("converted, untrained", _metrics()), ("fine-tuned", _metrics())]
    latencies = {"converted, untrained": 12.345, "fine-tuned": 12.345}
    lines = _lines(metrics_table(rows, latencies=latencies))
    assert max(map(cell_len, lines)) <= 80
    assert lines[1].split()[-1] == "ms"
    ends = [line.split()[-1] for line in lines if "1234567" in line]
    assert ends == ["-", "12.35", "12.35"]
    assert _lines(metrics_table(rows))[1].split()[-1] == "F1"


def test_calibration_is_shown_before_and_after_scaling() -> None:
    table = calibration_table([("dense", _metrics()), ("scaled", _metrics(has_temperature=True))])
    lines = _lines(table)
    assert lines[0].strip() == "Calibration on test"
    assert lines[1].split() == ["model", "temperature", "NLL", "Brier", "ECE", "%"]
    assert [line.split() for line in lines[3:]] == [
        ["dense", "1.000", "10.1234", "0.4567", "1.23"],
        ["scaled", "1.000", "10.1234", "0.4567", "1.23"],
        ["scaled", "1.500", "9.5000", "0.4500", "0.50"],
    ]


def test_every_class_has_a_row_and_the_last_is_the_macro_mean() -> None:
    lines = _lines(per_class_table(_metrics()))
    assert lines[0].strip() == "Classes of test, in percent"
    assert lines[1].split() == ["class", "precision", "recall", "F1", "images"]
    assert lines[3].split() == ["class", "0", "50.00", "25.00", "0.00", "9"]
    assert lines[-1].split() == ["macro", "mean", "11.00", "22.00", "33.00", "1234567"]


def test_of_many_classes_those_with_the_lowest_f1_are_shown_with_a_note() -> None:
    lines = _lines(per_class_table(_metrics(classes=100)))
    title = " ".join(line.strip() for line in lines[:2])
    assert title == "Classes of test, in percent: the 40 of 100 with the lowest F1"
    assert [line.split()[1] for line in lines[4:44]] == [str(number) for number in range(40)]
    assert len(lines) == 4 + 40 + 2


def test_nothing_is_read_as_markup() -> None:
    table = build_table(["[b]name[/b]", "n"], [["[red]zero[/red]", "1"]], numbers=["n"], title="[i]t[/i]")
    text = "\n".join(_lines(table))
    assert all(word in text for word in ("[b]name[/b]", "[red]zero[/red]", "[i]t[/i]"))


def test_numbers_are_set_to_the_right() -> None:
    lines = _lines(build_table(["name", "count"], [["a", "5"], ["b", "12345"]], numbers=["count"]))
    assert [line.rstrip()[-5:] for line in lines[2:]] == ["    5", "12345"]


def test_a_table_without_rows_has_its_headings() -> None:
    assert _lines(build_table(["name", "count"], []))[0].split() == ["name", "count"]
