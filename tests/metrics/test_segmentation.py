from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_confusion_matrix
from torchmetrics.functional.classification import multiclass_jaccard_index as jaccard_index

from dsft.metrics import (
    class_accuracy,
    class_iou,
    mean_iou,
    miou_difference_interval,
    miou_interval,
    pixel_accuracy,
    pixel_confusion,
)

CLASSES, NO_CLASS = 5, 255


@pytest.fixture(scope="module")
def masks() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, CLASSES - 1, (7, 9, 8), generator=generator)
    predicted = torch.where(torch.rand(7, 9, 8, generator=generator) < 0.6, truth, (truth + 1) % (CLASSES - 1))
    truth[:, 0, :3] = NO_CLASS
    # The last class occurs nowhere.
    return predicted, truth


def test_the_counts_are_those_of_torchmetrics(masks: tuple[Tensor, Tensor]) -> None:
    found = pixel_confusion(*masks, CLASSES, NO_CLASS)
    assert found.shape == (7, CLASSES, CLASSES)
    for predicted, truth, counts in zip(*masks, found, strict=True):
        expected = multiclass_confusion_matrix(predicted, truth, CLASSES, ignore_index=NO_CLASS)
        assert counts.tolist() == expected.tolist()


def test_iou_and_accuracy_are_those_of_torchmetrics(masks: tuple[Tensor, Tensor]) -> None:
    confusion = pixel_confusion(*masks, CLASSES, NO_CLASS).sum(0)
    each = jaccard_index(*masks, CLASSES, average="none", ignore_index=NO_CLASS)
    torch.testing.assert_close(class_iou(confusion)[:-1], each[:-1].double(), atol=1e-6, rtol=0)
    assert class_iou(confusion)[-1].isnan()
    assert mean_iou(confusion).item() == pytest.approx(each[:-1].mean().item(), abs=1e-6)
    micro = multiclass_accuracy(*masks, CLASSES, average="micro", ignore_index=NO_CLASS)
    assert pixel_accuracy(confusion).item() == pytest.approx(micro.item(), abs=1e-6)
    recall = multiclass_accuracy(*masks, CLASSES, average="none", ignore_index=NO_CLASS)
    torch.testing.assert_close(class_accuracy(confusion)[:-1], recall[:-1].double(), atol=1e-6, rtol=0)
    assert class_accuracy(confusion)[-1].isnan()


def test_the_counts_of_parts_add_up_exactly(masks: tuple[Tensor, Tensor]) -> None:
    whole = pixel_confusion(*masks, CLASSES, NO_CLASS)
    parts = [pixel_confusion(masks[0][part], masks[1][part], CLASSES, NO_CLASS) for part in (slice(3), slice(3, None))]
    assert torch.equal(torch.cat(parts), whole)


def test_the_interval_is_a_bootstrap_over_images(masks: tuple[Tensor, Tensor]) -> None:
    confusion = pixel_confusion(*masks, CLASSES, NO_CLASS)
    random = np.random.default_rng(1)
    drawn = [mean_iou(confusion[random.integers(0, 7, 7)].sum(0)).item() for _ in range(2000)]
    assert miou_interval(confusion) == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.01)
    better = confusion.clone()
    better[:, 0, 0] += 100
    low, high = miou_difference_interval(confusion, better)
    assert 0 < low < mean_iou(better.sum(0)) - mean_iou(confusion.sum(0)) < high
    assert miou_difference_interval(confusion, confusion) == (0.0, 0.0)
