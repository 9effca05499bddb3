from __future__ import annotations

import pytest
import torch

from dsft.data.labels import count_classes, has_label_sets, renumber, single_classes, stack_targets


def test_one_class_an_image_is_a_number() -> None:
    stacked = stack_targets([2, 0], 3)
    assert (stacked.dtype, stacked.tolist()) == (torch.int64, [2, 0])
    assert not has_label_sets([2, 0])
    assert not has_label_sets([])
    assert count_classes([2, 0, 2], 4) == [1, 0, 2, 0]


def test_a_set_of_classes_is_a_row_of_zeros_and_ones() -> None:
    stacked = stack_targets([(0, 2), (), (1,)], 3)
    assert (stacked.dtype, stacked.tolist()) == (torch.float32, [[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    assert has_label_sets([(), (1,)])
    assert count_classes([(0, 2), (), (2,)], 3) == [1, 0, 2]


def test_a_target_moves_to_another_class_table() -> None:
    assert renumber(1, {0: 5, 1: 3}) == 3
    assert renumber((0, 1), {0: 5, 1: 3}) == (3, 5)


def test_only_one_class_an_image_is_one_class() -> None:
    assert single_classes([1, (0,)]) == [1, 0]
    with pytest.raises(ValueError, match="values to unpack"):
        single_classes([1, (0, 1)])
