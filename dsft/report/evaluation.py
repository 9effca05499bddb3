"""The folder of an evaluation: its tables and its pictures."""

from __future__ import annotations

from pathlib import Path

from dsft.data import Split
from dsft.evaluation import Evaluation, write_evaluation
from dsft.metrics import reliability
from dsft.report.confusion import plot_confusion
from dsft.report.mistakes import plot_mistakes, worst_mistakes
from dsft.report.reliability import plot_reliability

CONFUSION_PICTURE, RELIABILITY_PICTURE, MISTAKES_PICTURE = "confusion.png", "reliability.png", "mistakes.png"


def report_evaluation(folder: Path, evaluation: Evaluation, split: Split) -> None:
    """Write an evaluation as tables (:func:`dsft.evaluation.write_evaluation`) and pictures.

    * ``confusion.png``: which classes are taken for which
    * ``reliability.png``: accuracy over confidence
    * ``mistakes.png``: the images that it is most confidently wrong about; none where all are right

    Args:
        folder: Where to write; it is replaced.
        evaluation: What to write.
        split: The images.
    """
    write_evaluation(folder, evaluation, split.classes, split.keys)
    plot_confusion(evaluation.confusion, split.classes, folder / CONFUSION_PICTURE)
    scaled = None
    if (calibrated := evaluation.metrics.calibrated) is not None:
        scaled = reliability(evaluation.logits.double() / calibrated.temperature, evaluation.targets)
    plot_reliability(reliability(evaluation.logits, evaluation.targets), folder / RELIABILITY_PICTURE, scaled)
    if mistakes := worst_mistakes(evaluation, split.classes):
        plot_mistakes(mistakes, split, folder / MISTAKES_PICTURE)
