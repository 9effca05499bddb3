from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from sklearn import metrics as reference

from dsft.choices import TaskName
from dsft.errors import InputError
from dsft.recipe.sections.evaluate import MONITORS
from dsft.tasks import MULTI_LABEL, MultiLabelMetrics, task_named, task_of
from dsft.tasks.multi_label.scorer import MultiLabelScorer
from dsft.tasks.multi_label.view import MultiLabelView

MULTI_LABEL_VIEW = MultiLabelView()
CLASSES = ["ant", "bee", "cow", "dog"]
GENERATOR = torch.Generator().manual_seed(0)
TARGETS = (torch.rand(60, 4, generator=GENERATOR) < torch.tensor([0.1, 0.3, 0.5, 0.8])).float()
LOGITS = torch.randn(60, 4, generator=GENERATOR) + TARGETS


def score(logits: torch.Tensor = LOGITS, targets: torch.Tensor = TARGETS) -> MultiLabelMetrics:
    return MultiLabelScorer().compute_metrics(
        logits, targets, classes=CLASSES, split_name="test", skipped=2, calibrated=None
    )


def test_the_scores_are_those_of_scikit_learn() -> None:
    found, truth = score(), TARGETS.numpy()
    given, chances = (LOGITS > 0).numpy(), LOGITS.double().sigmoid().numpy()
    assert (found.split, found.count, found.skipped) == ("test", 60, 2)
    assert found.map == pytest.approx(reference.average_precision_score(truth, chances, average="macro"), abs=1e-9)
    assert found.micro_f1 == pytest.approx(reference.f1_score(truth, given, average="micro"), abs=1e-9)
    assert found.macro_f1 == pytest.approx(reference.f1_score(truth, given, average="macro"), abs=1e-9)
    assert found.macro_precision == pytest.approx(reference.precision_score(truth, given, average="macro"), abs=1e-9)
    assert found.macro_recall == pytest.approx(reference.recall_score(truth, given, average="macro"), abs=1e-9)
    assert found.exact_match == pytest.approx(reference.accuracy_score(truth, given), abs=1e-9)
    losses = [reference.log_loss(truth[:, column], chances[:, column]) for column in range(4)]
    assert found.loss == found.nll == pytest.approx(np.mean(losses), abs=1e-6)
    briers = [reference.brier_score_loss(truth[:, column], chances[:, column]) for column in range(4)]
    assert found.brier == pytest.approx(np.mean(briers), abs=1e-6)
    for column, row in enumerate(found.per_class):
        assert (row.name, row.support) == (CLASSES[column], truth[:, column].sum())
        expected = reference.average_precision_score(truth[:, column], chances[:, column])
        assert row.average_precision == pytest.approx(expected, abs=1e-9)
        assert row.f1 == pytest.approx(reference.f1_score(truth[:, column], given[:, column]), abs=1e-9)


def test_a_class_without_an_image_has_no_average_precision_and_does_not_count() -> None:
    targets = TARGETS.clone()
    targets[:, 1] = 0
    found = score(targets=targets)
    rest = [0, 2, 3]
    assert found.per_class[1].average_precision is None
    assert found.map == pytest.approx(
        reference.average_precision_score(targets[:, rest].numpy(), LOGITS[:, rest].numpy())
    )
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["per_class"][1]["average_precision"] is None


def test_images_without_any_label_can_be_scored() -> None:
    found = score(-torch.ones(3, 4), torch.zeros(3, 4))
    assert (found.map, found.micro_f1, found.exact_match, found.map_interval) == (0.0, 0.0, 1.0, (0.0, 0.0))


def test_the_dictionary_is_json_that_says_its_task_and_is_read_back() -> None:
    found = score()
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert list(read) == [field.name for field in dataclasses.fields(MultiLabelMetrics)]
    assert read["task"] == "multi_label"
    assert task_of(read) is MULTI_LABEL
    assert TypeAdapter(MULTI_LABEL.scorer.metrics_type).validate_python(found) is found
    assert TypeAdapter(MULTI_LABEL.scorer.metrics_type).validate_json(json.dumps(found.to_dict())) == found


@pytest.mark.parametrize("name", list(TaskName))
def test_the_monitors_of_a_recipe_are_the_monitored_metrics(name: TaskName) -> None:
    task = task_named(name)
    shape = (6, 3, 16, 16)
    outputs, targets = torch.randn(task.codec.output_shape(shape, 3)), task.codec.placeholder_targets(shape, 3)
    rows = task.scorer.reduce(outputs, targets)
    watched = task.scorer.monitored_metrics(*rows)
    assert {f"val/{figure}" for figure in watched} == set(MONITORS[name])
    assert MONITORS[name][0] == f"val/{task.scorer.layout.main.name}"
    metrics = task.scorer.compute_metrics(*rows, classes="abc", split_name="val", skipped=0, calibrated=None).to_dict()
    assert watched.items() <= metrics.items()


def test_a_prediction_is_a_set_of_labels_with_its_probability() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5, -3.0], [-1.0, -1.0, -1.0, -1.0]])
    (first, first_share), (second, second_share) = MULTI_LABEL_VIEW.name_predictions(logits, CLASSES)
    assert (first, second) == ("ant;cow", "")
    chances = logits.double().sigmoid().numpy()
    assert first_share == pytest.approx(chances[0, 0] * (1 - chances[0, 1]) * chances[0, 2] * (1 - chances[0, 3]))
    assert second_share == pytest.approx((1 - chances[1, 0]) ** 4)


def test_a_prediction_names_the_labels_over_the_threshold() -> None:
    logits = torch.tensor([[-0.1, 3.0, 0.1, -5.0], [-4.0, -4.0, -4.0, -4.0]])
    first, second = MULTI_LABEL_VIEW.class_selector(None, None)(logits)
    assert first.classes == (1, 2)
    assert first.probabilities == pytest.approx(torch.tensor([3.0, 0.1]).sigmoid().tolist())
    assert second.classes == second.probabilities == ()
    assert MULTI_LABEL_VIEW.class_selector(None, 0.4)(logits)[0].classes == (1, 2, 0)
    assert MULTI_LABEL_VIEW.class_selector(None, 0.0)(logits)[1].classes == (0, 1, 2, 3)
    with pytest.raises(InputError, match=r"--top-k: .* found 3\. Use --threshold"):
        MULTI_LABEL_VIEW.class_selector(3, None)


def test_weights_that_even_out_are_absences_for_each_presence() -> None:
    assert MULTI_LABEL.objective.class_weights([5, 20, 40], 40, None) == (7.0, 1.0, 1 / 40)
    assert MULTI_LABEL.objective.class_weights([5, 20, 40], 40, (1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0)


def test_the_margin_is_what_a_logit_may_change_before_a_label_does() -> None:
    logits = torch.tensor([[2.0, -0.25, 1.0]])
    assert MULTI_LABEL.scorer.margin(logits).tolist() == [0.25]
    assert MULTI_LABEL.scorer.agrees(logits, logits + 0.24).tolist() == [True]
    assert MULTI_LABEL.scorer.agrees(logits, logits + 0.26).tolist() == [False]
