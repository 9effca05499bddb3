"""Compare the outputs of an exported file with those of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

TOLERANCE = 1e-4
"""Largest allowed difference of an output, relative to the largest one."""


@dataclass(frozen=True)
class Parity:
    """Differences between the outputs of a file and of the model, on the same images.

    Attributes:
        images: Number of images.
        largest_difference: Largest absolute difference of an output.
        largest_logit: Largest absolute output of the model.
        agreement: Fraction of the images, or of their pixels, with the same prediction, such as the same top-1 class.
        clear_disagreements: Number of images, or of pixels, whose predictions differ although the model's margin is
            larger than ``largest_difference``.
    """

    images: int
    largest_difference: float
    largest_logit: float
    agreement: float
    clear_disagreements: int

    @property
    def relative_difference(self) -> float:
        """The largest difference relative to the largest output."""
        return self.largest_difference / (self.largest_logit or 1.0)

    @property
    def holds(self) -> bool:
        """Whether the differences are within the tolerance."""
        # Comparisons with NaN are false, so it fails too.
        return self.relative_difference <= TOLERANCE and self.clear_disagreements == 0

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        return {**vars(self), "relative_difference": self.relative_difference}


@dataclass(frozen=True)
class Int8:
    """Effect of the quantization to int8, on the images of the parity check.

    Attributes:
        images: Number of calibration images; none of them is scored.
        score: Name of the score, such as ``top1``.
        of_float: Score of the float32 model; None without labels.
        of_int8: Score of the int8 file; None without labels.
        agreement: Fraction of the images with the same prediction.
        largest_difference: Largest absolute difference of an output.
        float_layers: Names of the layers with weights that remain in float32.
    """

    images: int
    score: str
    of_float: float | None
    of_int8: float | None
    agreement: float
    largest_difference: float
    float_layers: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON values; the keys of the scores contain their name, such as ``top1_float``."""
        return {
            "images": self.images,
            f"{self.score}_float": self.of_float,
            f"{self.score}_int8": self.of_int8,
            "agreement": self.agreement,
            "largest_difference": self.largest_difference,
            "float_layers": list(self.float_layers),
        }


def compare_outputs(expected: Tensor, found: Tensor, *, agrees: Tensor, margins: Tensor) -> Parity:
    """Compare the outputs of a model with those of a file.

    Args:
        expected: Outputs of the model ``(images, ...)``.
        found: Outputs of the file, in the same shape.
        agrees: Whether both make the same prediction, bool, for an image ``(images,)`` or for each of its pixels
            ``(images, height, width)``.
        margins: By how much the model's outputs may change before its prediction changes, in the same shape.
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
