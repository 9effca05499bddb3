"""Tables and pictures in the folder of an evaluation."""

from __future__ import annotations

import contextlib
from pathlib import Path

from dsft.data import Split
from dsft.errors import DataError
from dsft.evaluation import Evaluation, write_evaluation
from dsft.report.confusion import plot_confusion
from dsft.report.mistakes import plot_mistakes, worst_mistakes
from dsft.report.reliability import plot_reliability
from dsft.report.worst_images import plot_worst

CONFUSION_PICTURE, RELIABILITY_PICTURE, MISTAKES_PICTURE = "confusion.png", "reliability.png", "mistakes.png"
WORST_PICTURE = "worst.png"


def report_evaluation(folder: Path, evaluation: Evaluation, split: Split) -> None:
    """Write an evaluation as tables (:func:`dsft.evaluation.write_evaluation`) and pictures.

    * ``confusion.png``: confusion matrix; not if images have several labels
    * ``reliability.png``: accuracy by confidence
    * ``mistakes.png``: the most confident mistakes; not if there are none, or if the examples are texts
    * ``worst.png``: the images with the lowest scores, for tasks whose predictions are pictures; instead of the two
      before

    Args:
        folder: Output folder; it is replaced.
        evaluation: The evaluation.
        split: The split with the images.
    """
    write_evaluation(folder, evaluation, split.keys, _captions(split))
    if (confusion := evaluation.confusion_matrix) is not None:
        plot_confusion(confusion, split.classes, folder / CONFUSION_PICTURE)
    if evaluation.worst:
        plot_worst(evaluation.worst, split.keys, evaluation.task.view.columns[0], folder / WORST_PICTURE)
    if evaluation.task.labels is None:
        return
    plot_reliability(
        evaluation.reliability,
        folder / RELIABILITY_PICTURE,
        evaluation.scaled_reliability,
        evaluation.labels.view.calibration_axes,
    )
    if not split.input_type.in_words and (mistakes := worst_mistakes(evaluation)):
        plot_mistakes(mistakes, split, folder / MISTAKES_PICTURE)


def _captions(split: Split) -> list[str] | None:
    """Return the examples of a split in words, empty for unreadable ones; None if they are shown as pictures."""
    if not split.input_type.in_words:
        return None
    captions = [""] * len(split)
    for position, index in enumerate(split.indices):
        with contextlib.suppress(DataError):
            captions[position] = split.input_type.caption(split.source.read(index))
    return captions
