"""The folder of an evaluation: its tables and its pictures."""

from __future__ import annotations

from pathlib import Path

from dsft.data import Split
from dsft.evaluation import Evaluation, write_evaluation
from dsft.report.confusion import plot_confusion
from dsft.report.mistakes import plot_mistakes, worst_mistakes
from dsft.report.reliability import plot_reliability

CONFUSION_PICTURE, RELIABILITY_PICTURE, MISTAKES_PICTURE = "confusion.png", "reliability.png", "mistakes.png"


def report_evaluation(folder: Path, evaluation: Evaluation, split: Split) -> None:
    """Write an evaluation as tables (:func:`dsft.evaluation.write_evaluation`) and pictures.

    * ``confusion.png``: which classes are taken for which; not where an image has several labels
    * ``reliability.png``: how often it is right over how sure it is
    * ``mistakes.png``: the images that it is most confidently wrong about; none where all are right

    Args:
        folder: Where to write; it is replaced.
        evaluation: What to write.
        split: The images.
    """
    write_evaluation(folder, evaluation, split.keys)
    if (confusion := evaluation.confusion) is not None:
        plot_confusion(confusion, split.classes, folder / CONFUSION_PICTURE)
    plot_reliability(
        evaluation.reliability,
        folder / RELIABILITY_PICTURE,
        evaluation.scaled_reliability,
        evaluation.task.calibration_axes,
    )
    if mistakes := worst_mistakes(evaluation):
        plot_mistakes(mistakes, split, folder / MISTAKES_PICTURE)
