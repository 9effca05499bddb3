"""Parts of pages that come from the files of an evaluation."""

from __future__ import annotations

import csv
import json
import math
import shlex
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsft.choices import InputKind
from dsft.number_format import plural
from dsft.report.evaluation import CONFUSION_PICTURE, MISTAKES_PICTURE, RELIABILITY_PICTURE, WORST_PICTURE
from dsft.report.mistakes import MOST_MISTAKES, NO_LABEL
from dsft.report.page import NOTHING, Cell, Picture, Table, embed, number
from dsft.tasks import MetricSpec, task_of

_MOST_ROWS = 50
_WIDE_CLASSES = 15
_LONGEST_TEXT = 400
_NARROW_MISTAKES = 3  # images that fit into half the width of a page

Values = Mapping[str, Any]
"""The content of a JSON file."""


@dataclass(frozen=True)
class EvaluationPart:
    """One evaluation on a page.

    Attributes:
        slot: Name of its folder.
        title: The heading.
        pictures: Plots and mistakes.
        classes: Scores of each class.
        confusions: Pairs of true and predicted classes.
        mistakes: The wrong predictions.
        truth: Name of the ground truth of an image, such as ``class``.
        images: The images with the lowest scores, for tasks in which a prediction is not simply right or wrong.
        kind: What was evaluated.
    """

    slot: str
    title: str
    pictures: Sequence[Picture]
    classes: Table
    confusions: Table
    mistakes: Table
    truth: str
    images: Table | None = None
    kind: InputKind = InputKind.IMAGE


def read_json(path: Path) -> Any:
    """Return the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def describe_evaluation(folder: Path, title: str, kind: InputKind) -> EvaluationPart:
    """Read the part of a page from the folder of an evaluation.

    Args:
        folder: The folder that :func:`dsft.report.report_evaluation` wrote.
        title: The heading.
        kind: What was evaluated.
    """
    metrics = read_json(folder / "metrics.json")
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    task = task_of(metrics)
    truth, is_labelled = task.scorer.layout.target, task.labels is not None
    wrong = [row for row in rows if is_labelled and row["target"] != row["predicted"]]
    wrong.sort(key=lambda row: -float(row["probability"]))
    return EvaluationPart(
        folder.name,
        title,
        _pictures(folder, metrics, len(wrong), kind),
        _classes(metrics, kind),
        _confusions(wrong, truth, kind),
        _mistakes(wrong, truth, kind),
        truth,
        None if is_labelled else _worst_images(rows, task.view.columns, kind),
        kind,
    )


def scores_table(
    caption: str, rows: Sequence[tuple[str, Values]], latencies: Mapping[str, float], kind: InputKind
) -> Table:
    """Compare the metrics of networks.

    Args:
        caption: The caption.
        rows: A label and the content of a ``metrics.json``, all of one task.
        latencies: Milliseconds of a forward pass by label, where they are known.
        kind: What the networks are scored on.
    """
    layout = task_of(rows[0][1] if rows else {}).scorer.layout
    main, others = layout.main, layout.others
    details = layout.details
    numbers = [kind.plural, main.heading, "95 % CI", *(figure.heading for figure in (*others, *details))]
    numbers += ["latency ms"] if latencies else []
    cells = [
        [
            Cell(label),
            Cell(metrics["split"]),
            number(metrics["count"], ",d"),
            score_cell(main, metrics[main.name]),
            Cell(layout.format_interval(metrics[layout.interval], " to "), metrics[layout.interval][0]),
            *(score_cell(figure, metrics[figure.name]) for figure in (*others, *details)),
            *([number(latencies.get(label), ".2f")] if latencies else []),
        ]
        for label, metrics in rows
    ]
    return Table(caption, ["network", "split", *numbers], numbers, cells)


def score_cell(figure: MetricSpec, value: float | None) -> Cell:
    """Return a cell with a score in percent; an empty cell for None."""
    return Cell(NOTHING) if value is None else Cell(figure.format(value), value)


def command_line(arguments: Sequence[str]) -> str:
    """Return the command line that started a process of dsft; empty if the process was another program."""
    program, *rest = arguments or [""]
    is_ours = Path(program).name in ("dsft", "dsft.exe") or Path(program).parts[-2:] == ("dsft", "__main__.py")
    return shlex.join(["dsft", *rest]) if is_ours else ""


def versions_text(versions: Mapping[str, str]) -> str:
    """Return the versions of packages in one line."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _pictures(folder: Path, metrics: Values, mistakes: int, kind: InputKind) -> list[Picture]:
    found = [_confusion_picture(folder, metrics), *_label_pictures(folder, metrics, mistakes, kind)]
    columns = task_of(metrics).view.columns
    found.append(
        embed(
            folder / WORST_PICTURE,
            f"The {kind.plural} with the lowest {columns[0]}",
            f"{kind.plural.capitalize()} of {metrics['split']} in rows, each beside ground truth and prediction.",
            is_wide=False,
        )
    )
    return [picture for picture in found if picture is not None]


def _confusion_picture(folder: Path, metrics: Values) -> Picture | None:
    layout, split, classes = task_of(metrics).scorer.layout, metrics["split"], len(metrics["per_class"])
    if not classes:
        return None
    main, order = layout.main, layout.order
    worst = min(metrics["per_class"], key=lambda row: rank(row[order.name]))
    lowest = "undefined" if worst[order.name] is None else order.with_unit(worst[order.name])
    return embed(
        folder / CONFUSION_PICTURE,
        f"Confusion matrix on {split}: rows are true classes, columns predicted classes",
        f"Confusion matrix of {plural(classes, 'class')}; {main.label} is {main.with_unit(metrics[main.name])}. "
        f"The class with the lowest {order.label}, {lowest}, is {worst['name']}.",
        is_wide=classes > _WIDE_CLASSES,
    )


def rank(value: float | None) -> float:
    """Return a value for sorting; undefined ones come last."""
    return math.inf if value is None else value


def _label_pictures(folder: Path, metrics: Values, mistakes: int, kind: InputKind) -> list[Picture | None]:
    labels, split = task_of(metrics).labels, metrics["split"]
    if labels is None:
        return []
    across, upwards, _ = labels.view.calibration_axes
    return [
        embed(
            folder / RELIABILITY_PICTURE,
            f"Reliability diagram on {split}; ECE is the expected calibration error",
            f"Bars of {upwards} by {across} with the diagonal of a calibrated network, above the share of "
            f"{kind.plural} in each bin; the expected calibration error is {100 * metrics['ece']:.2f} %.",
        ),
        embed(
            folder / MISTAKES_PICTURE,
            "Wrong predictions with the highest probabilities",
            f"The {min(mistakes, MOST_MISTAKES)} most confident of {plural(mistakes, 'mistake')}, which the table of "
            "mistakes lists.",
            is_wide=mistakes > _NARROW_MISTAKES,
        ),
    ]


def _classes(metrics: Values, kind: InputKind) -> Table:
    layout = task_of(metrics).scorer.layout
    figures, order = layout.classes, layout.order
    numbers = [*(figure.heading for figure in figures), layout.support_of(kind)]
    # The worst classes are those that a reader looks for.
    worst_first = sorted(metrics["per_class"], key=lambda row: rank(row[order.name]))
    rows = [
        [
            Cell(row["name"]),
            *(score_cell(figure, row[figure.name]) for figure in figures),
            number(row["support"], ",d"),
        ]
        for row in worst_first
    ]
    return Table(f"Classes on {metrics['split']}, lowest {order.label} first", ["class", *numbers], numbers, rows)


def _confusions(wrong: Sequence[Mapping[str, str]], truth: str, kind: InputKind) -> Table:
    pairs = Counter((row["target"], row["predicted"]) for row in wrong)
    rows = [
        [Cell(target or NO_LABEL), Cell(guess or NO_LABEL), number(times, ",d")]
        for (target, guess), times in pairs.most_common(_MOST_ROWS)
    ]
    caption = "Confused classes" + (f" (the {_MOST_ROWS} most frequent pairs)" if len(pairs) > _MOST_ROWS else "")
    return Table(caption, [f"true {truth}", f"predicted {truth}", kind.plural], [kind.plural], rows)


def _worst_images(rows: Sequence[Mapping[str, str]], columns: Sequence[str], kind: InputKind) -> Table:
    worst_first = sorted(rows, key=lambda row: rank(float(row[columns[0]])))[:_MOST_ROWS]
    cells = [[Cell(row["key"]), *(number(float(row[name]), ".4g") for name in columns)] for row in worst_first]
    caption = f"{kind.plural.capitalize()}, lowest {columns[0]} first ({len(cells)} of {len(rows):,})"
    return Table(caption, [kind, *columns], list(columns), cells)


def _mistakes(wrong: Sequence[Mapping[str, str]], truth: str, kind: InputKind) -> Table:
    rows = [
        [
            Cell(textwrap.shorten(row.get("text", row["key"]), _LONGEST_TEXT, placeholder=" …")),
            Cell(row["target"] or NO_LABEL),
            Cell(row["predicted"] or NO_LABEL),
            number(float(row["probability"]), ".4f"),
        ]
        for row in wrong[:_MOST_ROWS]
    ]
    caption = f"Mistakes, most confident first ({len(rows)} of {len(wrong):,})"
    return Table(caption, [kind, f"true {truth}", f"predicted {truth}", "probability"], ["probability"], rows)
