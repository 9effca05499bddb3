"""The scorer of classification."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from dsft.metrics import (
    Interval,
    Reliability,
    brier_score,
    class_scores,
    confusion_matrix,
    difference_interval,
    fit_temperature,
    negative_log_likelihood,
    reliability,
    top1_interval,
    topk_accuracy,
)
from dsft.tasks.classification.metrics import LAYOUT, ClassificationMetrics, ClassMetrics
from dsft.tasks.image_labels import ImageLabelScorer
from dsft.tasks.metric_specs import MetricLayout
from dsft.tasks.metrics import CalibratedMetrics, Metrics, Rows


class ClassificationScorer(ImageLabelScorer):
    """Implements :class:`dsft.tasks.Scorer`."""

    layout: ClassVar[MetricLayout] = LAYOUT
    metrics_type: ClassVar[type[Metrics]] = ClassificationMetrics

    def monitored_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return loss, top-1, top-5 and macro F1."""
        scores = class_scores(self.confusion_matrix(outputs, targets))
        return {
            "loss": negative_log_likelihood(outputs, targets),
            "top1": topk_accuracy(outputs, targets, 1),
            "top5": topk_accuracy(outputs, targets, 5),
            "macro_f1": scores.macro(scores.f1),
        }

    def compute_metrics(
        self,
        outputs: Tensor,
        targets: Tensor,
        *,
        classes: Sequence[str],
        split_name: str,
        skipped: int,
        calibrated: CalibratedMetrics | None,
    ) -> ClassificationMetrics:
        """Return :class:`ClassificationMetrics`."""
        scores = class_scores(self.confusion_matrix(outputs, targets))
        monitored = self.monitored_metrics(outputs, targets)
        columns = (scores.precision, scores.recall, scores.f1, scores.support)
        rows = zip(classes, *(column.tolist() for column in columns), strict=True)
        return ClassificationMetrics(
            split=split_name,
            count=len(targets),
            skipped=skipped,
            loss=monitored["loss"],
            top1=monitored["top1"],
            top1_interval=top1_interval(self.is_correct(outputs, targets)),
            top5=monitored["top5"],
            macro_precision=scores.macro(scores.precision),
            macro_recall=scores.macro(scores.recall),
            macro_f1=monitored["macro_f1"],
            ece=self.reliability(outputs, targets).error,
            nll=monitored["loss"],
            brier=self.brier_score(outputs, targets),
            calibrated=calibrated,
            per_class=tuple(ClassMetrics(*row) for row in rows),
        )

    def fit_temperature(self, logits: Tensor, targets: Tensor) -> float:
        """See :func:`dsft.metrics.fit_temperature`."""
        return fit_temperature(logits, targets)

    def reliability(self, logits: Tensor, targets: Tensor) -> Reliability:
        """See :func:`dsft.metrics.reliability`."""
        return reliability(logits, targets)

    def negative_log_likelihood(self, logits: Tensor, targets: Tensor) -> float:
        """See :func:`dsft.metrics.negative_log_likelihood`."""
        return negative_log_likelihood(logits, targets)

    def brier_score(self, logits: Tensor, targets: Tensor) -> float:
        """See :func:`dsft.metrics.brier_score`."""
        return brier_score(logits, targets)

    def confusion_matrix(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Count the images of every true class (rows) by the predicted class (columns)."""
        return confusion_matrix(targets, outputs.argmax(dim=1), outputs.shape[1])

    def average(self, logits: Tensor) -> Tensor:
        """Return the logarithms of the mean probabilities."""
        return logits.log_softmax(-1).logsumexp(0) - math.log(len(logits))

    def predict(self, logits: Tensor) -> Tensor:
        """Return the indices of the most probable classes."""
        return logits.argmax(dim=1)

    def is_correct(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return whether the most probable class is the true one."""
        return logits.argmax(dim=1) == targets

    def margin(self, outputs: Tensor) -> Tensor:
        """Return the difference between the two highest logits."""
        best = outputs.topk(min(2, outputs.shape[1]), dim=1).values
        return best[:, 0] - best[:, -1]

    def difference_interval(self, first: Rows, second: Rows) -> Interval:
        """Return the paired bootstrap interval of the difference in top-1, in percentage points."""
        return difference_interval(self.is_correct(*first), self.is_correct(*second))
