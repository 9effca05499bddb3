"""The parts of a page, from the files of an evaluation."""

from __future__ import annotations

import csv
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsft.report.evaluation import CONFUSION_PICTURE, MISTAKES_PICTURE, RELIABILITY_PICTURE
from dsft.report.mistakes import NO_LABEL
from dsft.report.page import NOTHING, Cell, Picture, Table, embed, number
from dsft.tasks import Figure, task_of

_MOST_ROWS = 50
_WIDE_CLASSES = 15

Values = Mapping[str, Any]
"""The content of a JSON file."""


@dataclass(frozen=True)
class EvaluationPart:
    """What a page shows of one evaluation: its pictures, and the tables of classes, mistaken pairs and mistakes.

    ``truth`` is what is right or wrong about an image, such as ``class``.
    """

    slot: str
    title: str
    pictures: Sequence[Picture]
    classes: Table
    confusions: Table
    mistakes: Table
    truth: str


def read_json(path: Path) -> Any:
    """Return the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def describe_evaluation(folder: Path, title: str) -> EvaluationPart:
    """Read what a page shows of an evaluation's folder.

    Args:
        folder: What :func:`dsft.report.report_evaluation` wrote.
        title: The heading.
    """
    metrics = read_json(folder / "metrics.json")
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        wrong = [row for row in csv.DictReader(file) if row["target"] != row["predicted"]]
    wrong.sort(key=lambda row: -float(row["probability"]))
    truth = task_of(metrics).layout.truth
    return EvaluationPart(
        folder.name,
        title,
        _pictures(folder, metrics),
        _classes(metrics),
        _confusions(wrong, truth),
        _mistakes(wrong, truth),
        truth,
    )


def scores_table(caption: str, rows: Iterable[tuple[str, Values]]) -> Table:
    """Set the metrics of networks side by side.

    Args:
        caption: What they are.
        rows: A label and the content of a ``metrics.json``, all of one task.
    """
    rows = list(rows)
    layout = task_of(rows[0][1] if rows else {}).layout
    main, others = layout.main, layout.others
    numbers = ["images", main.heading, "95 % CI", *(figure.heading for figure in others), "loss", "Brier", "ECE %"]
    cells = [
        [
            Cell(label),
            Cell(metrics["split"]),
            number(metrics["count"], ",d"),
            score_cell(main, metrics[main.name]),
            Cell(layout.show_interval(metrics[layout.interval], " to "), metrics[layout.interval][0]),
            *(score_cell(figure, metrics[figure.name]) for figure in others),
            number(metrics["loss"], ".4f"),
            number(metrics["brier"], ".4f"),
            number(100 * metrics["ece"], ".2f"),
        ]
        for label, metrics in rows
    ]
    return Table(caption, ["network", "split", *numbers], numbers, cells)


def score_cell(figure: Figure, value: float | None) -> Cell:
    """Return a cell with a score in percent; None is an empty one."""
    return Cell(NOTHING) if value is None else Cell(figure.number(value), value)


def command_line(arguments: Sequence[str]) -> str:
    """Return the command that a program was started with, as it is typed; empty where it was not dsft's."""
    program, *rest = arguments or [""]
    is_ours = Path(program).name in ("dsft", "dsft.exe") or Path(program).parts[-2:] == ("dsft", "__main__.py")
    return shlex.join(["dsft", *rest]) if is_ours else ""


def versions_text(versions: Mapping[str, str]) -> str:
    """Return the versions of packages in one line."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _pictures(folder: Path, metrics: Values) -> list[Picture]:
    split, count = metrics["split"], len(metrics["per_class"])
    task = task_of(metrics)
    main, (across, upwards, _) = task.layout.main, task.calibration_axes
    worst = min(metrics["per_class"], key=lambda row: row["f1"])
    found = (
        embed(
            folder / CONFUSION_PICTURE,
            f"Confusion on {split}: a row a true class, a column a predicted one",
            f"Confusion matrix of {count} classes; {main.words(metrics[main.name])} of the images are on its "
            f"diagonal. The lowest F1 has {worst['name']} with {worst['f1']:.3f}.",
            is_wide=count > _WIDE_CLASSES,
        ),
        embed(
            folder / RELIABILITY_PICTURE,
            f"Reliability on {split}: how often it is right when it is so sure",
            f"Bars of {upwards} by {across} beside the diagonal of a calibrated network, above what is in each "
            f"interval; the expected calibration error is {100 * metrics['ece']:.2f} %.",
        ),
        embed(
            folder / MISTAKES_PICTURE,
            "The surest mistakes",
            "Images that were given a wrong answer, the surest first; the table of mistakes lists them.",
        ),
    )
    return [picture for picture in found if picture is not None]


def _classes(metrics: Values) -> Table:
    figures = task_of(metrics).layout.classes
    numbers = [*(figure.heading for figure in figures), "images"]
    # The worst come first: they are what someone looks for.
    worst_first = sorted(metrics["per_class"], key=lambda row: row["f1"])
    rows = [
        [
            Cell(row["name"]),
            *(score_cell(figure, row[figure.name]) for figure in figures),
            number(row["support"], ",d"),
        ]
        for row in worst_first
    ]
    return Table(f"Classes on {metrics['split']}, the worst first", ["class", *numbers], numbers, rows)


def _confusions(wrong: Sequence[Mapping[str, str]], truth: str) -> Table:
    pairs = Counter((row["target"], row["predicted"]) for row in wrong)
    rows = [
        [Cell(target or NO_LABEL), Cell(guess or NO_LABEL), number(times, ",d")]
        for (target, guess), times in pairs.most_common(_MOST_ROWS)
    ]
    caption = "Which classes are taken for which" + (
        f" (the {_MOST_ROWS} pairs met most)" if len(pairs) > _MOST_ROWS else ""
    )
    return Table(caption, [f"true {truth}", "taken for", "images"], ["images"], rows)


def _mistakes(wrong: Sequence[Mapping[str, str]], truth: str) -> Table:
    rows = [
        [
            Cell(row["key"]),
            Cell(row["target"] or NO_LABEL),
            Cell(row["predicted"] or NO_LABEL),
            number(float(row["probability"]), ".4f"),
        ]
        for row in wrong[:_MOST_ROWS]
    ]
    caption = f"Mistakes, the surest first ({len(rows)} of {len(wrong):,})"
    return Table(caption, ["image", f"true {truth}", "taken for", "probability"], ["probability"], rows)
