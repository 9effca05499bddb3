from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from dsft.metrics import ClassScores, class_scores, confusion_matrix


def _labels(seed: int, classes: int, count: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(classes, (count,), generator=generator), torch.randint(classes, (count,), generator=generator)


@pytest.mark.parametrize("classes", [2, 5, 40])
def test_the_matrix_agrees_with_scikit_learn(classes: int) -> None:
    targets, predictions = _labels(classes, classes)
    expected = reference.confusion_matrix(targets, predictions, labels=np.arange(classes))
    assert confusion_matrix(targets, predictions, classes).tolist() == expected.tolist()


def test_rows_are_truths_and_columns_predictions() -> None:
    matrix = confusion_matrix(torch.tensor([0, 0, 0]), torch.tensor([2, 2, 1]), 3)
    assert matrix.tolist() == [[0, 1, 2], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(("used", "classes"), [(5, 5), (3, 6)])
def test_the_scores_agree_with_scikit_learn(used: int, classes: int) -> None:
    targets, predictions = _labels(used, used)
    predictions[targets == 1] = 0  # class 1 is never right, and class 0 often wrong
    expected = reference.precision_recall_fscore_support(
        targets.numpy(), predictions.numpy(), labels=np.arange(classes), zero_division=0
    )
    scores = class_scores(confusion_matrix(targets, predictions, classes))
    for found, wanted in zip((scores.precision, scores.recall, scores.f1, scores.support), expected, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12)


def test_the_macro_mean_counts_the_classes_in_truths_or_predictions_as_scikit_learn_does() -> None:
    targets, predictions = torch.tensor([0, 0, 3, 3]), torch.tensor([0, 1, 3, 3])
    scores = class_scores(confusion_matrix(targets, predictions, 9))
    assert scores.macro(scores.precision) == pytest.approx(
        reference.precision_score(targets, predictions, average="macro", zero_division=0)
    )
    assert scores.macro(scores.recall) == pytest.approx(
        reference.recall_score(targets, predictions, average="macro", zero_division=0)
    )
    assert scores.macro(scores.f1) == pytest.approx(
        reference.f1_score(targets, predictions, average="macro", zero_division=0)
    )


def test_without_any_class_there_is_nothing_right() -> None:
    scores = ClassScores.of_counts(torch.zeros(3), torch.zeros(3), torch.zeros(3))
    assert scores.macro(scores.f1) == 0.0
