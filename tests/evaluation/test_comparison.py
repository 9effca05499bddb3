from __future__ import annotations

import pytest
import torch

from dsft.errors import DataError
from dsft.evaluation import Evaluation, compare

CLASSES = ["ant", "bee", "cow"]


def _evaluation(answers: list[int], targets: list[int], classes: list[str] | None = None) -> Evaluation:
    logits = torch.eye(3)[answers]
    positions = torch.arange(len(answers))
    return Evaluation(
        logits, torch.tensor(targets), positions, classes=classes or CLASSES, split_name="test", skipped=0
    )


def test_models_are_compared_image_by_image() -> None:
    targets = [0, 1, 2, 0, 1, 2, 0, 1]
    first = _evaluation([0, 1, 2, 0, 0, 0, 1, 0], targets)
    second = _evaluation([1, 1, 2, 0, 1, 2, 0, 0], targets)
    found = compare(first, second)
    assert found.to_dict()["top1"] == pytest.approx(second.main_score - first.main_score) == 25.0
    assert (found.only_other_right, found.only_this_right) == (1, 3)
    assert found.mcnemar_p == pytest.approx(0.625)
    assert found.interval[0] < 25 < found.interval[1]
    assert found.to_dict()["interval"] == list(found.interval)


def test_class_tables_may_be_in_different_orders() -> None:
    first = _evaluation([0, 1, 2], [0, 1, 1])
    turned = _evaluation([2, 1, 0], [2, 1, 1], ["cow", "bee", "ant"])
    found = compare(first, turned)
    assert (found.value, found.only_other_right, found.only_this_right, found.mcnemar_p) == (0.0, 0, 0, 1.0)


def test_other_images_are_an_error() -> None:
    with pytest.raises(DataError, match=r"found 2 and 3\. Check"):
        compare(_evaluation([0, 1], [0, 1]), _evaluation([0, 1, 2], [0, 1, 2]))
