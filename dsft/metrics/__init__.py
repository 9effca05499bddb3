"""Pure metric functions: what a network's logits are worth, given the true classes.

Everything is computed in float64 on the tensors' own device. Nothing here knows a model or a data set.
"""

from dsft.metrics.accuracy import topk_accuracy
from dsft.metrics.calibration import expected_calibration_error, negative_log_likelihood
from dsft.metrics.confusion import ClassScores, class_scores, confusion_matrix

__all__ = [
    "ClassScores",
    "class_scores",
    "confusion_matrix",
    "expected_calibration_error",
    "negative_log_likelihood",
    "topk_accuracy",
]
