"""Metrics of multi-label classification: one binary prediction for each image and class, positive above 0.5."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dsft.metrics.calibration import BINS, Reliability, bin_by_confidence, bisect_temperature
from dsft.metrics.confusion import ClassScores


def multilabel_scores(logits: Tensor, targets: Tensor) -> ClassScores:
    """Return precision, recall, F1 and support of every class.

    Args:
        logits: ``(images, classes)``.
        targets: ``(images, classes)``, 0 or 1.
    """
    predicted, labels = logits > 0, targets > 0.5
    return ClassScores.of_counts((predicted & labels).sum(dim=0), labels.sum(dim=0), predicted.sum(dim=0))


def micro_f1(logits: Tensor, targets: Tensor) -> float:
    """Return the F1 of all predictions together, a fraction; 0 without any positive label or prediction."""
    predicted, labels = logits > 0, targets > 0.5
    return 2 * int((predicted & labels).sum()) / max(int(predicted.sum() + labels.sum()), 1)


def exact_matches(logits: Tensor, targets: Tensor) -> Tensor:
    """Return whether all predictions of an image are correct ``(images,)``, bool."""
    return ((logits > 0) == (targets > 0.5)).all(dim=1)


def binary_negative_log_likelihood(logits: Tensor, targets: Tensor) -> float:
    """Return the mean of ``-log p(label)`` over images and classes, in nats: the binary cross entropy."""
    return functional.binary_cross_entropy_with_logits(logits.double(), targets.double()).item()


def binary_brier_score(logits: Tensor, targets: Tensor) -> float:
    """Return the mean squared error of the probabilities over images and classes, 0 to 1 (Brier 1950)."""
    return (logits.double().sigmoid() - targets.double()).square().mean().item()


def multilabel_reliability(logits: Tensor, targets: Tensor, bins: int = BINS) -> Reliability:
    """Return the fraction of positive labels by their predicted probability.

    Args:
        logits: ``(images, classes)``.
        targets: ``(images, classes)``, 0 or 1.
        bins: Number of bins of equal width.
    """
    return bin_by_confidence(logits.double().sigmoid().flatten(), targets.flatten() > 0.5, bins)


def fit_binary_temperature(logits: Tensor, targets: Tensor) -> float:
    """Return the temperature that minimises the binary cross entropy of ``logits / temperature``.

    As :func:`dsft.metrics.fit_temperature`, with the derivative ``mean((sigmoid(logit / T) - label) * logit)``.

    Args:
        logits: ``(images, classes)``, of images used neither for training nor for evaluation.
        targets: ``(images, classes)``, 0 or 1.
    """
    logits, targets = logits.double(), targets.double()

    def slope(inverse: float) -> Tensor:
        return (((logits * inverse).sigmoid() - targets) * logits).mean()

    return bisect_temperature(slope)


def label_set_probabilities(logits: Tensor) -> Tensor:
    """Return the probability of the predicted set of labels of each image ``(images,)``, float64.

    The labels are independent in the model, so it is the product of their probabilities, each at least 0.5.
    """
    return torch.sigmoid(logits.double().abs()).log().sum(dim=1).exp()
