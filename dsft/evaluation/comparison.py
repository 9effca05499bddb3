"""Two networks on the same images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dsft.errors import DataError
from dsft.evaluation.values import Evaluation
from dsft.metrics import Interval, difference_interval, disagreements, mcnemar_p


@dataclass(frozen=True)
class Difference:
    """How much better a network is than another, and whether that is more than the luck of the draw of images.

    Attributes:
        top1: Its top-1 less the other's, in points.
        interval: Low and high end of the difference's 95 % confidence interval (paired bootstrap over the images).
        only_other_right: Images that only the other network got right.
        only_this_right: Images that only this one got right.
        mcnemar_p: P-value of McNemar's exact test.
    """

    top1: float
    interval: Interval
    only_other_right: int
    only_this_right: int
    mcnemar_p: float

    def to_dict(self) -> dict[str, Any]:
        """Return the difference as JSON values, under the names of the attributes."""
        return {**vars(self), "interval": list(self.interval)}


def compare(other: Evaluation, this: Evaluation) -> Difference:
    """Compare two networks image by image; their class tables may be in different orders.

    Args:
        other: What to compare with.
        this: What is compared, on the same images in the same order.

    Raises:
        DataError: The images are not the same.
    """
    if other.positions.tolist() != this.positions.tolist():
        raise DataError(
            f"split {this.metrics.split}: models are compared on the same images, found {len(other.positions)} that "
            f"one has answered and {len(this.positions)} of the other. Check that the images can be read throughout."
        )
    before, after = other.right, this.right
    return Difference(
        this.metrics.top1 - other.metrics.top1,
        difference_interval(before, after),
        *disagreements(before, after),
        mcnemar_p(before, after),
    )
