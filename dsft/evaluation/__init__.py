"""Evaluation of a network on a split, comparison of two evaluations, and prediction for unlabelled images."""

from dsft.evaluation.batches import BatchSource, EvaluatedSplit, LabelledBatch
from dsft.evaluation.comparison import Difference, compare
from dsft.evaluation.evaluate import evaluate
from dsft.evaluation.files import write_evaluation
from dsft.evaluation.prediction import Prediction, predict
from dsft.evaluation.result import Evaluation

__all__ = [
    "BatchSource",
    "Difference",
    "EvaluatedSplit",
    "Evaluation",
    "LabelledBatch",
    "Prediction",
    "compare",
    "evaluate",
    "predict",
    "write_evaluation",
]
