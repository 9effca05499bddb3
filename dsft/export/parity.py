"""Whether an exported file answers as the model does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

TOLERANCE = 1e-4
"""Largest difference of a logit that a file may show, as a share of the largest logit."""


@dataclass(frozen=True)
class Parity:
    """The answers of a file beside those of the model, on the same images.

    Attributes:
        images: How many there were.
        largest_difference: Of any logit.
        largest_logit: The largest magnitude among the model's logits.
        agreement: Share of the images with the same top-1 class, 0 to 1.
        clear_disagreements: Images with another top-1 class although the model's two best logits lie further apart
            than the largest difference.
    """

    images: int
    largest_difference: float
    largest_logit: float
    agreement: float
    clear_disagreements: int

    @property
    def relative_difference(self) -> float:
        """The largest difference as a share of the largest logit."""
        return self.largest_difference / (self.largest_logit or 1.0)

    @property
    def holds(self) -> bool:
        """Whether the file may be kept."""
        # A NaN is not at most anything, so it fails too.
        return self.relative_difference <= TOLERANCE and self.clear_disagreements == 0

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        return {**vars(self), "relative_difference": self.relative_difference}


@dataclass(frozen=True)
class Int8:
    """What 8 bits cost: top-1 in percent on the images of the parity check, None where they have no labels.

    Attributes:
        images: Calibration images, none of which is among those that are scored.
        top1_float: Of the model.
        top1_int8: Of the file.
        agreement: Share of the images with the same top-1 class, 0 to 1.
        largest_difference: Of any logit.
    """

    images: int
    top1_float: float | None
    top1_int8: float | None
    agreement: float
    largest_difference: float


def compare_logits(expected: Tensor, found: Tensor) -> Parity:
    """Compare logits ``(images, classes)`` of a model with those of a file."""
    expected, found = expected.double(), found.double()
    difference = float((expected - found).abs().max())
    best = expected.topk(min(2, expected.shape[1]), dim=1).values
    margins = best[:, 0] - best[:, -1]
    differs = expected.argmax(dim=1) != found.argmax(dim=1)
    return Parity(
        images=len(expected),
        largest_difference=difference,
        largest_logit=float(expected.abs().max()),
        agreement=1 - float(differs.double().mean()),
        clear_disagreements=int((differs & ~(margins <= difference)).sum()),
    )
