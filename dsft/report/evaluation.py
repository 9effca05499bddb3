"""Tables and pictures in the folder of an evaluation."""

from __future__ import annotations

from pathlib import Path

from dsft.data import Split
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
    * ``mistakes.png``: the most confident mistakes; not if there are none
    * ``worst.png``: the images with the lowest scores, for tasks whose predictions are pictures; instead of the two
      before

    Args:
        folder: Output folder; it is replaced.
        evaluation: The evaluation.
        split: The split with the images.
    """
    write_evaluation(folder, evaluation, split.keys)
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
    if mistakes := worst_mistakes(evaluation):
        plot_mistakes(mistakes, split, folder / MISTAKES_PICTURE)
