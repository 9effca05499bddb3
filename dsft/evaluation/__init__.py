"""A network over images: its metrics on a split, how they compare, and their files; or its predictions."""

from dsft.evaluation.batches import BatchSource, LabelledBatch
from dsft.evaluation.comparison import Difference, compare
from dsft.evaluation.evaluate import evaluate
from dsft.evaluation.files import write_evaluation
from dsft.evaluation.prediction import Prediction, predict
from dsft.evaluation.result import Evaluation

__all__ = [
    "BatchSource",
    "Difference",
    "Evaluation",
    "LabelledBatch",
    "Prediction",
    "compare",
    "evaluate",
    "predict",
    "write_evaluation",
]
