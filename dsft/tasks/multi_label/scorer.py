"""The scorer of multi-label classification."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from dsft.metrics import (
    Interval,
    Reliability,
    average_precision,
    binary_brier_score,
    binary_negative_log_likelihood,
    exact_matches,
    fit_binary_temperature,
    map_difference_interval,
    map_interval,
    mean_average_precision,
    micro_f1,
    multilabel_reliability,
    multilabel_scores,
)
from dsft.tasks.image_labels import ImageLabelScorer
from dsft.tasks.metric_specs import MetricLayout
from dsft.tasks.metrics import CalibratedMetrics, Metrics, Rows
from dsft.tasks.multi_label.metrics import LAYOUT, LabelMetrics, MultiLabelMetrics


class MultiLabelScorer(ImageLabelScorer):
    """Implements :class:`dsft.tasks.Scorer`."""

    layout: ClassVar[MetricLayout] = LAYOUT
    metrics_type: ClassVar[type[Metrics]] = MultiLabelMetrics

    def monitored_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return loss, mAP, exact match, micro and macro F1."""
        scores = multilabel_scores(outputs, targets)
        return {
            "loss": binary_negative_log_likelihood(outputs, targets),
            "map": mean_average_precision(outputs, targets),
            "exact_match": exact_matches(outputs, targets).double().mean().item(),
            "micro_f1": micro_f1(outputs, targets),
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
    ) -> MultiLabelMetrics:
        """Return :class:`MultiLabelMetrics`."""
        scores, monitored = multilabel_scores(outputs, targets), self.monitored_metrics(outputs, targets)
        ranked = [None if math.isnan(value) else value for value in average_precision(outputs, targets).tolist()]
        columns = (scores.precision, scores.recall, scores.f1, scores.support)
        rows = zip(classes, *(column.tolist() for column in columns), ranked, strict=True)
        return MultiLabelMetrics(
            split=split_name,
            count=len(targets),
            skipped=skipped,
            loss=monitored["loss"],
            map=monitored["map"],
            map_interval=map_interval(outputs, targets),
            exact_match=monitored["exact_match"],
            micro_f1=monitored["micro_f1"],
            macro_precision=scores.macro(scores.precision),
            macro_recall=scores.macro(scores.recall),
            macro_f1=monitored["macro_f1"],
            ece=self.reliability(outputs, targets).error,
            nll=monitored["loss"],
            brier=self.brier_score(outputs, targets),
            calibrated=calibrated,
            per_class=tuple(LabelMetrics(*row) for row in rows),
        )

    def fit_temperature(self, logits: Tensor, targets: Tensor) -> float:
        """See :func:`dsft.metrics.fit_binary_temperature`."""
        return fit_binary_temperature(logits, targets)

    def reliability(self, logits: Tensor, targets: Tensor) -> Reliability:
        """See :func:`dsft.metrics.multilabel_reliability`."""
        return multilabel_reliability(logits, targets)

    def negative_log_likelihood(self, logits: Tensor, targets: Tensor) -> float:
        """See :func:`dsft.metrics.binary_negative_log_likelihood`."""
        return binary_negative_log_likelihood(logits, targets)

    def brier_score(self, logits: Tensor, targets: Tensor) -> float:
        """See :func:`dsft.metrics.binary_brier_score`."""
        return binary_brier_score(logits, targets)

    def confusion_matrix(self, outputs: Tensor, targets: Tensor) -> None:
        """Return None, since a confusion matrix is not defined for sets of labels."""

    def average(self, logits: Tensor) -> Tensor:
        """Return the log odds of the mean probabilities."""
        return functional.logsigmoid(logits).logsumexp(0) - functional.logsigmoid(-logits).logsumexp(0)

    def predict(self, logits: Tensor) -> Tensor:
        """Return 1 for the labels with a probability above 0.5."""
        return (logits > 0).float()

    def is_correct(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return whether exactly the true labels are predicted."""
        return exact_matches(logits, targets)

    def margin(self, outputs: Tensor) -> Tensor:
        """Return the smallest distance of a logit to 0."""
        return outputs.abs().amin(dim=1)

    def difference_interval(self, first: Rows, second: Rows) -> Interval:
        """Return the paired bootstrap interval of the difference in mAP, as fractions."""
        return map_difference_interval(first, second)
