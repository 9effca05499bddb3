from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from dsft.evaluation import Evaluation
from dsft.tasks import ClassificationMetrics

CLASSES = ["ant", "bee", "cow", "dog", "eel", "fox"]


@pytest.fixture
def evaluation() -> Evaluation:
    generator = torch.Generator().manual_seed(0)
    return Evaluation(
        torch.randn(80, 6, generator=generator),
        torch.randint(5, (80,), generator=generator),
        torch.arange(80),
        classes=CLASSES,
        split_name="test",
        skipped=3,
    )


def test_the_scores_are_those_of_scikit_learn_over_the_whole_split(evaluation: Evaluation) -> None:
    metrics, targets = evaluation.metrics, evaluation.targets.numpy()
    assert isinstance(metrics, ClassificationMetrics)
    predictions = evaluation.outputs.argmax(dim=1).numpy()
    probability = evaluation.outputs.double().softmax(dim=1).numpy()
    macro = {"average": "macro", "zero_division": 0}
    assert (metrics.split, metrics.count, metrics.skipped) == ("test", 80, 3)
    assert metrics.top1 == pytest.approx(100 * reference.accuracy_score(targets, predictions))
    assert metrics.top5 == pytest.approx(
        100 * reference.top_k_accuracy_score(targets, probability, k=5, labels=range(6))
    )
    assert metrics.macro_precision == pytest.approx(reference.precision_score(targets, predictions, **macro))
    assert metrics.macro_recall == pytest.approx(reference.recall_score(targets, predictions, **macro))
    assert metrics.macro_f1 == pytest.approx(reference.f1_score(targets, predictions, **macro))
    assert metrics.loss == metrics.nll == pytest.approx(reference.log_loss(targets, probability, labels=range(6)))
    assert evaluation.confusion_matrix is not None
    assert evaluation.confusion_matrix.tolist() == reference.confusion_matrix(targets, predictions).tolist()


def test_every_class_has_its_scores_even_one_without_images(evaluation: Evaluation) -> None:
    assert isinstance(evaluation.metrics, ClassificationMetrics)
    rows = evaluation.metrics.per_class
    assert [row.name for row in rows] == CLASSES
    assert [row.support for row in rows] == torch.bincount(evaluation.targets, minlength=6).tolist()
    assert (rows[5].support, rows[5].recall, rows[5].f1) == (0, 0.0, 0.0)


def test_the_dictionary_is_json_with_the_names_that_scripts_rely_on(evaluation: Evaluation) -> None:
    read = json.loads(json.dumps(evaluation.metrics.to_dict(), allow_nan=False))
    assert list(read) == [field.name for field in dataclasses.fields(ClassificationMetrics)]
    assert {"split", "count", "loss", "top1", "top5", "macro_precision", "macro_recall", "macro_f1"} < set(read)
    assert {"ece", "nll", "brier", "top1_interval", "calibrated", "per_class"} < set(read)
    assert read["calibrated"] is None
    low, high = read["top1_interval"]
    assert low < read["top1"] < high
    assert set(read["per_class"][0]) == {"name", "precision", "recall", "f1", "support"}


def test_a_temperature_changes_probabilities_but_not_predictions(evaluation: Evaluation) -> None:
    scaled = evaluation.at_temperature(2.5, fitted_on="val")
    assert {**scaled.metrics.to_dict(), "calibrated": None} == evaluation.metrics.to_dict()
    probability = (evaluation.outputs.double() / 2.5).softmax(dim=1).numpy()
    found = scaled.metrics.to_dict()["calibrated"]
    assert (found["temperature"], found["fitted_on"]) == (2.5, "val")
    assert found["nll"] == pytest.approx(reference.log_loss(evaluation.targets.numpy(), probability, labels=range(6)))
    one_hot = np.eye(6)[evaluation.targets.numpy()]
    assert found["brier"] == pytest.approx(((probability - one_hot) ** 2).sum(axis=1).mean())
    again = Evaluation(
        evaluation.outputs / 2.5, evaluation.targets, evaluation.positions, classes=CLASSES, split_name="x", skipped=0
    )
    assert isinstance(again.metrics, ClassificationMetrics)
    assert found["ece"] == pytest.approx(again.metrics.ece)
