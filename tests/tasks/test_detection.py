from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dsft.data.placement import place_image
from dsft.preprocessing import LETTERBOX
from dsft.tasks import DETECTION, LossOptions, Rows
from tests.data.test_joint_transforms import GREY
from tests.metrics.test_detection import coco_precisions, draw_sample

PADDING = [0.0, 0, 0, 0, 0, -1]


def rows_of(*rows: list[float]) -> torch.Tensor:
    return torch.tensor([[*rows, *[PADDING] * (3 - len(rows))]])


def test_the_loss_is_the_sum_of_the_networks_losses() -> None:
    images, targets = torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 6)
    assert DETECTION.codec.training_inputs(images, targets) == (images, targets)
    _, placeholders = DETECTION.codec.training_inputs(images, None)
    assert (placeholders[:, :, 4] == -1).all()
    loss = DETECTION.objective.label_loss(torch.tensor([1.0, 2.5]), targets, LossOptions(), None)
    assert loss == 3.5


def test_single_images_are_scored_by_what_was_found() -> None:
    box = [0.0, 0, 10, 10]
    outputs = rows_of([*box, 0.9, 1], [20, 20, 30, 30, 0.8, 1], [*box, 0.2, 0])
    boxes = torch.tensor([[[*box, 1, 0], [40, 40, 50, 50, 0, 0], [0, 0, 0, 0, -1, 0]]])
    rows = DETECTION.scorer.reduce(outputs, boxes)
    assert rows.targets.tolist() == [[1, 0, -1]]
    # The detection with a score of 0.2 is not shown, so it is no false one.
    assert DETECTION.scorer.image_scores(*rows).tolist() == [0.5]  # type: ignore[union-attr]
    assert DETECTION.view.describe_images(rows, ("a", "b")) == [("0.500000", "1", "1", "1")]
    none = DETECTION.scorer.reduce(rows_of(), torch.tensor([[[0.0, 0, 0, 0, -1, 0]]]))
    assert DETECTION.scorer.image_scores(*none).tolist() == [1]  # type: ignore[union-attr]
    pictures = DETECTION.view.pictures(torch.rand(1, 60, 60), outputs[0], boxes[0], ("a", "b"))
    assert [each.shape for each in pictures.values()] == [(180, 180, 3)] * 2
    assert (pictures["truth"] != pictures["prediction"]).any()


def test_metrics_of_all_images_and_of_each_class() -> None:
    found, boxes = draw_sample(2)
    rows = DETECTION.scorer.reduce(found, boxes)
    metrics = DETECTION.scorer.compute_metrics(
        *rows, classes=("a", "b", "c", "d"), split_name="test", skipped=1, calibrated=None
    ).to_dict()
    monitored = DETECTION.scorer.monitored_metrics(*rows)
    assert {name: metrics[name] for name in monitored} == pytest.approx(monitored)
    assert metrics["per_class"][3] == {"name": "d", "ap": None, "ap50": None, "ap75": None, "support": 0}
    assert sum(each["support"] for each in metrics["per_class"]) == (boxes[:, :, 4] >= 0).sum()
    assert DETECTION.scorer.difference_interval(rows, Rows(*rows)) == (0.0, 0.0)


def test_outputs_are_compared_whatever_the_order_of_equal_scores() -> None:
    one, other, third = [0.0, 0, 10, 10, 0.5, 1], [20.0, 0, 30, 10, 0.5, 1], [5.0, 5, 9, 9, 0.1, 2]
    expected, found = rows_of(one, other, third), rows_of(other, one)
    assert torch.equal(DETECTION.scorer.align(expected, found), expected)
    # What a threshold may leave out is no clear difference.
    assert DETECTION.scorer.agrees(expected, found).tolist() == [[True, True, False]]
    assert DETECTION.scorer.margin(expected).tolist() == [pytest.approx([0.4, 0.4, 0])]
    moved = rows_of([0.2, 0, 10, 10, 0.5, 1], other, third)
    assert (DETECTION.scorer.align(expected, moved) - expected).abs().max() == pytest.approx(0.2)


def test_letterboxed_images_are_scored_in_their_own_pixels() -> None:
    found, boxes = draw_sample(5)
    random, own = np.random.default_rng(0), dataclasses.replace(GREY, image_size=(64, 80), crop_mode=LETTERBOX)
    inputs, targets, cut, true = [], [], [], []
    for one, other in zip(found.numpy(), boxes.numpy(), strict=True):
        width, height = (int(side) for side in random.integers(64, 140, 2))
        place, border = place_image((width, height), own), [width, height] * 2
        truth, clipped = other.copy(), one.copy()
        truth[:, :4], clipped[:, :4] = other[:, :4].clip(0, border), one[:, :4].clip(0, border)
        area = [[*place.sides, -1, 0]]
        inputs.append(place.from_image(one, (width, height)))
        targets.append(np.concatenate([place.from_image(truth, (width, height)) * (truth[:, 4:5] >= 0), area]))
        targets[-1][:-1, 4] = truth[:, 4]
        cut.append(clipped)
        true.append(truth)
    detections, truths = (torch.from_numpy(np.stack(rows)).float() for rows in (cut, true))
    expected = coco_precisions(detections, truths)
    rows = DETECTION.scorer.reduce(*(torch.from_numpy(np.stack(each)).float() for each in (inputs, targets)))
    scores = DETECTION.scorer.monitored_metrics(*rows)
    assert scores["map"] == pytest.approx(expected.mean(), abs=1e-6)
    assert scores["map50"] == pytest.approx(expected[:, 0].mean(), abs=1e-6)
    # Some detections reach beyond the image.
    assert (detections != found).any()
