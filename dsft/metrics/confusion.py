"""The confusion matrix, and precision, recall and F1 by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Scores of every class, each a float64 tensor ``(classes,)`` of fractions.

    Attributes:
        precision: Fraction of correct predictions of this class; 0 if it is never predicted.
        recall: Fraction of this class's images that are predicted correctly; 0 if there are none.
        f1: Harmonic mean of the two; 0 if both are 0.
        support: Number of images of this class, int64.
        present: Whether the class occurs among the labels or the predictions, bool.
    """

    precision: Tensor
    recall: Tensor
    f1: Tensor
    support: Tensor
    present: Tensor

    @classmethod
    def of_counts(cls, right: Tensor, support: Tensor, predicted: Tensor) -> Self:
        """Compute scores from the number of true positives, of labels and of predictions of each class."""
        right = right.double()
        return cls(
            precision=_share(right, predicted),
            recall=_share(right, support),
            f1=_share(2 * right, support + predicted),
            support=support,
            present=(support + predicted) > 0,
        )

    def macro(self, scores: Tensor) -> float:
        """Return the mean of one of the scores over the present classes; 0 without any.

        A class that occurs neither among the labels nor among the predictions does not count, as in scikit-learn.
        """
        return scores[self.present].mean().item() if self.present.any() else 0.0


def confusion_matrix(targets: Tensor, predictions: Tensor, num_classes: int) -> Tensor:
    """Count images by true and predicted class.

    Args:
        targets: True class numbers ``(images,)``.
        predictions: Predicted class numbers ``(images,)``.
        num_classes: Number of classes.

    Returns:
        Counts ``(num_classes, num_classes)``, int64: rows are true classes, columns predicted ones.
    """
    pairs = targets * num_classes + predictions
    return torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_scores(confusion: Tensor) -> ClassScores:
    """Return precision, recall, F1 and support of every class.

    Args:
        confusion: Counts ``(classes, classes)``: rows are true classes, columns predicted ones.
    """
    return ClassScores.of_counts(confusion.diagonal(), confusion.sum(dim=1), confusion.sum(dim=0))


def _share(part: Tensor, whole: Tensor) -> Tensor:
    # If the whole is 0 so is the part, and dividing by 1 gives 0.
    return part / whole.clamp(min=1)
