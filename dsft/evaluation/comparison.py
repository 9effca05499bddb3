"""Two networks on the same images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dsft.errors import DataError
from dsft.evaluation.result import Evaluation
from dsft.metrics import Interval, disagreements, mcnemar_p
from dsft.tasks import Figure


@dataclass(frozen=True)
class Difference:
    """How much better a network is than another, and whether that is more than the luck of the draw of images.

    Attributes:
        figure: The score that they are compared by.
        value: Its score less the other's, in the figure's unit.
        interval: Low and high end of the difference's 95 % confidence interval (paired bootstrap over the images).
        only_other_right: Images that only the other network got right; with several labels an image, all of them.
        only_this_right: Images that only this one got right.
        mcnemar_p: P-value of McNemar's exact test.
    """

    figure: Figure
    value: float
    interval: Interval
    only_other_right: int
    only_this_right: int
    mcnemar_p: float

    def to_dict(self) -> dict[str, Any]:
        """Return the difference as JSON values; its value is called as the figure is, such as ``top1``."""
        rest = {key: value for key, value in vars(self).items() if key not in ("figure", "value")}
        return {self.figure.name: self.value, **rest, "interval": list(self.interval)}


def compare(other: Evaluation, this: Evaluation) -> Difference:
    """Compare two networks image by image; their class tables may be in different orders.

    Args:
        other: What to compare with.
        this: What is compared, on the same images in the same order, and for the same task.

    Raises:
        DataError: The images are not the same.
    """
    if other.positions.tolist() != this.positions.tolist():
        raise DataError(
            f"split {this.split_name}: models are compared on the same images, found {len(other.positions)} that "
            f"one has answered and {len(this.positions)} of the other. Check that the images can be read throughout."
        )
    before, after = other.right, this.right
    return Difference(
        this.task.layout.main,
        this.main_score - other.main_score,
        this.task.difference_interval(other.scored, this.scored),
        *disagreements(before, after),
        mcnemar_p(before, after),
    )
