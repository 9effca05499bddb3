"""A network over a split of held-out images: its metrics, and the files that hold them."""

from dsft.evaluation.batches import BatchSource, LabelledBatch
from dsft.evaluation.evaluate import evaluate
from dsft.evaluation.files import write_evaluation
from dsft.evaluation.values import ClassMetrics, Evaluation, Metrics

__all__ = [
    "BatchSource",
    "ClassMetrics",
    "Evaluation",
    "LabelledBatch",
    "Metrics",
    "evaluate",
    "write_evaluation",
]
