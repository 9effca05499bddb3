"""Pure metric functions: what a network's logits are worth, given the true classes.

Everything is computed in float64 on the tensors' own device. Nothing here knows a model or a data set.
"""

from dsft.metrics.accuracy import topk_accuracy
from dsft.metrics.calibration import (
    TEMPERATURES,
    Reliability,
    brier_score,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from dsft.metrics.confusion import ClassScores, class_scores, confusion_matrix
from dsft.metrics.significance import Interval, difference_interval, disagreements, mcnemar_p, top1_interval

__all__ = [
    "TEMPERATURES",
    "ClassScores",
    "Interval",
    "Reliability",
    "brier_score",
    "class_scores",
    "confusion_matrix",
    "difference_interval",
    "disagreements",
    "expected_calibration_error",
    "fit_temperature",
    "mcnemar_p",
    "negative_log_likelihood",
    "reliability",
    "top1_interval",
    "topk_accuracy",
]
