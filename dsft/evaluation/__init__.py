"""Evaluation of a network on a split, comparison of two evaluations, and prediction for unlabelled images."""

from dsft.evaluation.batches import BatchSource, EvaluatedSplit, LabelledBatch
from dsft.evaluation.comparison import Difference, compare
from dsft.evaluation.evaluate import evaluate
from dsft.evaluation.files import write_evaluation
from dsft.evaluation.prediction import (
    BoxPredictor,
    ClassPredictor,
    PicturePredictor,
    Prediction,
    Predictor,
    as_coco,
    picture_files,
    predict,
)
from dsft.evaluation.result import Evaluation, SeenImage
from dsft.evaluation.signal_prediction import ArrayPredictor, signal_mask_name

__all__ = [
    "ArrayPredictor",
    "BatchSource",
    "BoxPredictor",
    "ClassPredictor",
    "Difference",
    "EvaluatedSplit",
    "Evaluation",
    "LabelledBatch",
    "PicturePredictor",
    "Prediction",
    "Predictor",
    "SeenImage",
    "as_coco",
    "compare",
    "evaluate",
    "picture_files",
    "predict",
    "signal_mask_name",
    "write_evaluation",
]
