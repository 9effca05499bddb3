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
from dsft.metrics.decisions import (
    answer_probabilities,
    binary_brier_score,
    binary_log_likelihood,
    decision_reliability,
    decision_scores,
    exact_matches,
    fit_binary_temperature,
    micro_f1,
)
from dsft.metrics.ranking import average_precision, map_difference_interval, map_interval, mean_average_precision
from dsft.metrics.significance import Interval, difference_interval, disagreements, mcnemar_p, top1_interval

__all__ = [
    "TEMPERATURES",
    "ClassScores",
    "Interval",
    "Reliability",
    "answer_probabilities",
    "average_precision",
    "binary_brier_score",
    "binary_log_likelihood",
    "brier_score",
    "class_scores",
    "confusion_matrix",
    "decision_reliability",
    "decision_scores",
    "difference_interval",
    "disagreements",
    "exact_matches",
    "expected_calibration_error",
    "fit_binary_temperature",
    "fit_temperature",
    "map_difference_interval",
    "map_interval",
    "mcnemar_p",
    "mean_average_precision",
    "micro_f1",
    "negative_log_likelihood",
    "reliability",
    "top1_interval",
    "topk_accuracy",
]
