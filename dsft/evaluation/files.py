"""The files of an evaluation."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from pathlib import Path

from dsft.evaluation.values import ClassMetrics, Evaluation
from dsft.storage import staged_folder, write_json


def write_evaluation(folder: Path, evaluation: Evaluation, classes: Sequence[str], keys: Sequence[str]) -> None:
    """Write an evaluation as JSON and CSV; the folder is replaced as a whole.

    * ``metrics.json``: :class:`Metrics`
    * ``per_class.csv``: a row a class
    * ``confusion.csv``: a row a true class, a column a predicted one
    * ``predictions.csv``: a row an image: key, true class, predicted class and its probability

    Args:
        folder: Where to write, such as ``runs/quickstart/evaluation/test``.
        evaluation: What to write.
        classes: The class table.
        keys: Names of the split's images, by position.
    """
    per_class = (astuple(scores) for scores in evaluation.metrics.per_class)
    confusion = ([name, *row] for name, row in zip(classes, evaluation.confusion.tolist(), strict=True))
    with staged_folder(folder) as staging:
        write_json(staging / "metrics.json", evaluation.metrics.to_dict())
        _write_csv(staging / "per_class.csv", [field.name for field in fields(ClassMetrics)], per_class)
        _write_csv(staging / "confusion.csv", ["target", *classes], confusion)
        _write_csv(
            staging / "predictions.csv",
            ["key", "target", "predicted", "probability"],
            _predictions(evaluation, classes, keys),
        )


def _predictions(evaluation: Evaluation, classes: Sequence[str], keys: Sequence[str]) -> Iterable[Sequence[object]]:
    probabilities, predicted = evaluation.logits.double().softmax(dim=1).max(dim=1)
    columns = (evaluation.positions, evaluation.targets, predicted, probabilities)
    for position, target, guess, probability in zip(*(column.tolist() for column in columns), strict=True):
        yield keys[position], classes[target], classes[guess], f"{probability:.6f}"


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    # newline="" as the csv module asks; \n on every system, so that files compare.
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
