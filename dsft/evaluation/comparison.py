"""Compare two networks on the same images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dsft.errors import DataError
from dsft.evaluation.result import Evaluation
from dsft.metrics import Interval, disagreements, mcnemar_p
from dsft.tasks import MetricSpec


@dataclass(frozen=True)
class Difference:
    """The difference between two networks in the main metric, and its significance.

    Attributes:
        metric: The main metric.
        value: The value of this network minus that of the other one, in the unit of the metric.
        interval: Bounds of the difference's 95 % confidence interval (paired bootstrap over the images).
        only_other_right: Number of images that only the other network predicted entirely correctly; None, like the
            next two, for tasks in which a prediction is not simply right or wrong.
        only_this_right: Number of images that only this network predicted entirely correctly.
        mcnemar_p: P-value of McNemar's exact test.
    """

    metric: MetricSpec
    value: float
    interval: Interval
    only_other_right: int | None = None
    only_this_right: int | None = None
    mcnemar_p: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the difference as JSON values; the key of the value is the name of the metric, such as ``top1``."""
        rest = {key: value for key, value in vars(self).items() if key not in ("metric", "value")}
        return {self.metric.name: self.value, **rest, "interval": list(self.interval)}


def compare(other: Evaluation, this: Evaluation) -> Difference:
    """Compare two networks image by image; their class tables may have different orders.

    Args:
        other: The baseline.
        this: The network to compare, for the same task, on the same images in the same order.

    Raises:
        DataError: The images differ.
    """
    if other.positions.tolist() != this.positions.tolist():
        raise DataError(
            f"split {this.split_name}: models must be compared on the same examples, found {len(other.positions):,} "
            f"and {len(this.positions):,}. Check that all are readable."
        )
    scorer = this.task.scorer
    value, interval = this.main_score - other.main_score, scorer.difference_interval(other.rows, this.rows)
    if this.task.labels is None:
        return Difference(scorer.layout.main, value, interval)
    before, after = other.is_correct, this.is_correct
    counts = disagreements(before, after)
    return Difference(scorer.layout.main, value, interval, *counts, mcnemar_p(before, after))
