from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from dsft.metrics import (
    average_precisions,
    box_iou,
    detection_map_difference_interval,
    detection_map_interval,
    match_detections,
)

CLASSES = 3


def draw_sample(seed: int, *, images: int = 20, crowds: bool = False, digits: int = 1) -> tuple[Tensor, Tensor]:
    """Return detections and boxes: most near a box of the same class, some doubled, some with equal scores."""
    random = np.random.default_rng(seed)
    found, boxes = np.zeros((images, 60, 6)), np.zeros((images, 8, 6))
    found[:, :, 5] = boxes[:, :, 4] = -1
    for index in range(images):
        count, row = int(random.integers(0, 8)), 0
        corners, sizes = random.uniform(0, 60, (count, 2)), random.uniform(5, 40, (count, 2))
        boxes[index, :count, :4] = np.concatenate([corners, corners + sizes], 1)
        boxes[index, :count, 4] = random.integers(0, CLASSES, count)
        boxes[index, :count, 5] = (random.random(count) < 0.2) if crowds else 0
        for box in boxes[index, :count]:
            for _ in range(random.integers(0, 5)):
                near = box[:4] + random.normal(0, 2.5, 4)
                number = box[4] if random.random() < 0.8 else random.integers(0, CLASSES)
                found[index, row] = [
                    *near[:2],
                    *np.maximum(near[2:], near[:2] + 1),
                    round(random.random(), digits),
                    number,
                ]
                row += 1
    return torch.from_numpy(found).float(), torch.from_numpy(boxes).float()


def reduce(found: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    matches = torch.stack([match_detections(*pair) for pair in zip(found, boxes, strict=True)])
    return matches, torch.where(boxes[:, :, 5] > 0, -1, boxes[:, :, 4]).long()


def coco_precisions(found: Tensor, boxes: Tensor, classes: int = CLASSES) -> Any:
    """Return the average precision of pycocotools by class and threshold."""
    annotations, results = list[dict[str, Any]](), list[dict[str, Any]]()
    for index in range(len(found)):
        for left, top, right, bottom, number, is_crowd in boxes[index][boxes[index, :, 4] >= 0].tolist():
            box = [left, top, right - left, bottom - top]
            entry = {"image_id": index + 1, "category_id": int(number), "bbox": box, "area": box[2] * box[3]}
            annotations.append({**entry, "id": len(annotations) + 1, "iscrowd": int(is_crowd)})
        for left, top, right, bottom, score, number in found[index][found[index, :, 5] >= 0].tolist():
            box = [left, top, right - left, bottom - top]
            results.append({"image_id": index + 1, "category_id": int(number), "bbox": box, "score": score})
    truth: Any = COCO()  # type: ignore[no-untyped-call]
    truth.dataset = {
        "images": [{"id": index + 1} for index in range(len(found))],
        "annotations": annotations,
        "categories": [{"id": number} for number in range(classes)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation: Any = COCOeval(truth, truth.loadRes(results), "bbox")  # type: ignore[no-untyped-call]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][:, :, :, 0, 2].mean(1).T


@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_that_of_pycocotools(seed: int, crowds: bool) -> None:
    found, boxes = draw_sample(seed, crowds=crowds)
    expected = coco_precisions(found, boxes)
    assert 0.01 < expected.mean() < 0.9
    np.testing.assert_allclose(average_precisions(*reduce(found, boxes), CLASSES), expected, atol=1e-9)


def test_mean_average_precision_is_that_of_torchmetrics() -> None:
    found, boxes = draw_sample(5)
    metric = MeanAveragePrecision(backend="pycocotools")
    for detections, truth in zip(found, boxes, strict=True):
        detections, truth = detections[detections[:, 5] >= 0], truth[truth[:, 4] >= 0]
        predicted = {"boxes": detections[:, :4], "scores": detections[:, 4], "labels": detections[:, 5].int()}
        metric.update([predicted], [{"boxes": truth[:, :4], "labels": truth[:, 4].int()}])
    expected, precisions = metric.compute(), average_precisions(*reduce(found, boxes), CLASSES)
    assert precisions.mean().item() == pytest.approx(expected["map"].item(), abs=1e-6)
    assert precisions[:, 0].mean().item() == pytest.approx(expected["map_50"].item(), abs=1e-6)
    assert precisions[:, 5].mean().item() == pytest.approx(expected["map_75"].item(), abs=1e-6)


def test_rows_of_parts_are_those_of_the_whole() -> None:
    found, boxes = draw_sample(7)
    whole = reduce(found, boxes)
    parts = [reduce(found[part], boxes[part]) for part in (slice(0, 7), slice(7, None))]
    for column, expected in zip(zip(*parts, strict=True), whole, strict=True):
        assert torch.equal(torch.cat(column), expected)


def test_a_class_without_boxes_has_no_precision() -> None:
    found, boxes = draw_sample(1)
    precisions = average_precisions(*reduce(found, boxes), CLASSES + 1)
    assert precisions[-1].isnan().all()
    assert not precisions[:-1].isnan().any()
    empty = average_precisions(torch.full((2, 5, 12), -1.0), torch.tensor([[0], [-1]]), 1)
    assert torch.equal(empty, torch.zeros(1, 10, dtype=torch.float64))


def test_the_bootstrap_weighs_images_as_if_they_were_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    found, boxes = draw_sample(3, images=12, digits=9)
    rows = reduce(found, boxes)
    monkeypatch.setattr("dsft.metrics.detection._RESAMPLES", 5)
    draws = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), 5)
    repeated = []
    for draw in map(torch.from_numpy, draws):
        matches, classes = (row.repeat_interleave(draw, 0) for row in rows)
        repeated.append(average_precisions(matches, classes, CLASSES).nanmean().item())
    expected = np.percentile(repeated, [2.5, 97.5])
    assert detection_map_interval(*rows, CLASSES) == pytest.approx(expected)


def test_the_interval_of_a_difference_is_paired() -> None:
    found, boxes = draw_sample(4, images=40)
    worse = found.clone()
    worse[:, ::2, 5] = -1
    first, second = reduce(found, boxes), reduce(worse, boxes)
    assert detection_map_difference_interval(first, first, CLASSES) == (0.0, 0.0)
    low, high = detection_map_difference_interval(first, second, CLASSES)
    value = (average_precisions(*second, CLASSES).mean() - average_precisions(*first, CLASSES).mean()).item()
    assert low < value < high < 0
    alone = [detection_map_interval(*rows, CLASSES) for rows in (first, second)]
    assert high - low < sum(upper - lower for lower, upper in alone)


def test_the_overlap_of_boxes() -> None:
    first = np.array([[0.0, 0.0, 4.0, 4.0]])
    second = np.array([[0.0, 0.0, 4.0, 4.0], [2.0, 0.0, 6.0, 4.0], [5.0, 5.0, 6.0, 6.0]])
    np.testing.assert_allclose(box_iou(first, second), [[1, 8 / 24, 0]])
