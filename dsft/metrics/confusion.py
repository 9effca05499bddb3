"""Which classes are taken for which, and the scores that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Scores of every class, each a float64 tensor ``(classes,)`` of fractions.

    Attributes:
        precision: Right among the images that were given this class; 0 where there is none.
        recall: Right among the images of this class; 0 where there is none.
        f1: Harmonic mean of the two; 0 where both are 0.
        support: Images of this class, int64.
        present: Whether the class occurs among the truths or the predictions, bool.
    """

    precision: Tensor
    recall: Tensor
    f1: Tensor
    support: Tensor
    present: Tensor

    @classmethod
    def of_counts(cls, right: Tensor, support: Tensor, predicted: Tensor) -> Self:
        """Score classes by their images: those given the class rightly, those of it, and those given it."""
        right = right.double()
        return cls(
            precision=_share(right, predicted),
            recall=_share(right, support),
            f1=_share(2 * right, support + predicted),
            support=support,
            present=(support + predicted) > 0,
        )

    def macro(self, scores: Tensor) -> float:
        """Return the mean of one of the scores over the classes that are present.

        As scikit-learn does by default, a class that is neither among the truths nor among the
        predictions does not count: it can be neither right nor wrong. Without any it is 0.
        """
        return scores[self.present].mean().item() if self.present.any() else 0.0


def confusion_matrix(targets: Tensor, predictions: Tensor, num_classes: int) -> Tensor:
    """Count the images of every true class by the class that they were given.

    Args:
        targets: True class numbers ``(images,)``.
        predictions: Predicted class numbers ``(images,)``.
        num_classes: Number of classes.

    Returns:
        Counts ``(num_classes, num_classes)``, int64: rows are truths, columns predictions.
    """
    pairs = targets * num_classes + predictions
    return torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_scores(confusion: Tensor) -> ClassScores:
    """Return precision, recall, F1 and support of every class.

    Args:
        confusion: Counts ``(classes, classes)``: rows are truths, columns predictions.
    """
    return ClassScores.of_counts(confusion.diagonal(), confusion.sum(dim=1), confusion.sum(dim=0))


def _share(part: Tensor, whole: Tensor) -> Tensor:
    # Where the whole is 0 so is the part: dividing by 1 gives the 0 that is wanted.
    return part / whole.clamp(min=1)
