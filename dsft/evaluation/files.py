"""The files of an evaluation."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from dsft.evaluation.result import Evaluation
from dsft.storage import staged_folder, write_json


def write_evaluation(folder: Path, evaluation: Evaluation, keys: Sequence[str]) -> None:
    """Write an evaluation as JSON and CSV; the folder is replaced as a whole.

    * ``metrics.json``: the task's metrics
    * ``per_class.csv``: a row a class
    * ``confusion.csv``: a row a true class, a column a predicted one; not where an image has several labels
    * ``predictions.csv``: a row an image: key, truth, answer and the probability of just this answer

    Args:
        folder: Where to write, such as ``runs/quickstart/evaluation/test``.
        evaluation: What to write.
        keys: Names of the split's images, by position.
    """
    metrics, confusion = evaluation.metrics.to_dict(), evaluation.confusion
    with staged_folder(folder) as staging:
        write_json(staging / "metrics.json", metrics)
        per_class = metrics["per_class"]
        _write_csv(staging / "per_class.csv", list(per_class[0]), (row.values() for row in per_class))
        if confusion is not None:
            counts = ([name, *row] for name, row in zip(evaluation.classes, confusion.tolist(), strict=True))
            _write_csv(staging / "confusion.csv", ["target", *evaluation.classes], counts)
        _write_csv(
            staging / "predictions.csv", ["key", "target", "predicted", "probability"], _predictions(evaluation, keys)
        )


def _predictions(evaluation: Evaluation, keys: Sequence[str]) -> Iterable[Iterable[object]]:
    rows = zip(evaluation.positions.tolist(), evaluation.name_answers(), strict=True)
    for position, (target, guess, probability) in rows:
        yield keys[position], target, guess, f"{probability:.6f}"


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    # newline="" as the csv module asks; \n on every system, so that files compare.
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
