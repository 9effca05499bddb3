"""A network over images: its metrics on a held-out split and the files that hold them, or its predictions."""

from dsft.evaluation.batches import BatchSource, LabelledBatch
from dsft.evaluation.evaluate import evaluate
from dsft.evaluation.files import write_evaluation
from dsft.evaluation.prediction import Prediction, predict
from dsft.evaluation.values import ClassMetrics, Evaluation, Metrics

__all__ = [
    "BatchSource",
    "ClassMetrics",
    "Evaluation",
    "LabelledBatch",
    "Metrics",
    "Prediction",
    "evaluate",
    "predict",
    "write_evaluation",
]
