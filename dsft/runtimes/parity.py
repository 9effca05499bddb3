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
        agreement: Share of the images with the same answer, such as the same top-1 class, 0 to 1.
        clear_disagreements: Images with another answer although the model's logits are further from one than the
            largest difference.
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
    """What 8 bits cost: a score on the images of the parity check, None where they have no labels.

    Attributes:
        images: Calibration images, none of which is among those that are scored.
        score: Name of the score, such as ``top1``.
        of_float: The model's.
        of_int8: The file's.
        agreement: Share of the images with the same answer, 0 to 1.
        largest_difference: Of any logit.
    """

    images: int
    score: str
    of_float: float | None
    of_int8: float | None
    agreement: float
    largest_difference: float

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON values; the scores are called as the score is, such as ``top1_float``."""
        return {
            "images": self.images,
            f"{self.score}_float": self.of_float,
            f"{self.score}_int8": self.of_int8,
            "agreement": self.agreement,
            "largest_difference": self.largest_difference,
        }


def compare_logits(expected: Tensor, found: Tensor, *, agrees: Tensor, margins: Tensor) -> Parity:
    """Compare the answers of a model with those of a file.

    Args:
        expected: Logits of the model ``(images, classes)``.
        found: Logits of the file.
        agrees: Whether both mean the same ``(images,)``, bool.
        margins: By how much a logit of the model may change before its answer does ``(images,)``.
    """
    expected, found = expected.double(), found.double()
    difference = float((expected - found).abs().max())
    differs = ~agrees
    return Parity(
        images=len(expected),
        largest_difference=difference,
        largest_logit=float(expected.abs().max()),
        agreement=1 - float(differs.double().mean()),
        clear_disagreements=int((differs & ~(margins <= difference)).sum()),
    )
