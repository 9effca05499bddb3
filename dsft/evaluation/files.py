"""Write the files of an evaluation."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from dsft.evaluation.result import Evaluation
from dsft.storage import staged_folder, write_json


def write_evaluation(
    folder: Path, evaluation: Evaluation, keys: Sequence[str], captions: Sequence[str] | None = None
) -> None:
    """Write an evaluation as JSON and CSV; an existing folder is replaced.

    * ``metrics.json``: the metrics of the task
    * ``per_class.csv``: one row per class; not for tasks without classes
    * ``confusion.csv``: one row per true class, one column per predicted class; not for multi-label tasks
    * ``predictions.csv``: one row per image, such as key, target, prediction and the probability of the prediction

    Args:
        folder: The folder, such as ``runs/quickstart/evaluation/test``.
        evaluation: The evaluation.
        keys: Key of each image, by position.
        captions: What each example is in words, by position, for a last column ``text`` of the predictions; None leaves
            it out.
    """
    metrics, confusion = evaluation.metrics.to_dict(), evaluation.confusion_matrix
    with staged_folder(folder) as staging:
        write_json(staging / "metrics.json", metrics)
        per_class = metrics["per_class"]
        if per_class:
            _write_csv(staging / "per_class.csv", list(per_class[0]), (row.values() for row in per_class))
        if confusion is not None:
            counts = ([name, *row] for name, row in zip(evaluation.classes, confusion.tolist(), strict=True))
            _write_csv(staging / "confusion.csv", ["target", *evaluation.classes], counts)
        columns = ["key", *evaluation.task.view.columns, *(["text"] if captions is not None else [])]
        _write_csv(staging / "predictions.csv", columns, _predictions(evaluation, keys, captions))


def _predictions(
    evaluation: Evaluation, keys: Sequence[str], captions: Sequence[str] | None
) -> Iterable[Iterable[object]]:
    cells = evaluation.task.view.describe_images(evaluation.rows, evaluation.classes)
    for position, own in zip(evaluation.positions.tolist(), cells, strict=True):
        yield [keys[position], *own, *([captions[position]] if captions is not None else [])]


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    # newline="" as the csv module requires; \n on every system, so that files are equal.
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
