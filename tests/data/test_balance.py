from __future__ import annotations

from collections import Counter

import pytest

from dsft.data.balance import balanced_positions, class_weights
from dsft.errors import DataError

SIZES = (12, 3, 30, 1)
TARGETS = tuple(target for target, size in enumerate(SIZES) for _ in range(size))


CLASSES = ("ant", "bee", "cat", "dog")


def test_a_class_that_is_left_out_has_a_weight_of_one() -> None:
    assert class_weights(CLASSES, {"bee": 4.0, "dog": 0.5}) == (1.0, 4.0, 1.0, 0.5)


def test_an_unknown_class_is_named_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"data\.class_weights\.bees: unknown class\. Did you mean bee\?"):
        class_weights(CLASSES, {"bees": 2.0})


def test_every_class_comes_equally_often_and_every_image_of_it() -> None:
    for epoch in range(3):
        positions = balanced_positions(TARGETS, 0, epoch)
        assert len(positions) == len(TARGETS)
        by_class = Counter(TARGETS[position] for position in positions)
        assert set(by_class.values()) <= {11, 12}
        times = Counter(positions)
        for target in range(4):
            counts = [times[position] for position, own in enumerate(TARGETS) if own == target]
            assert max(counts) - min(counts) <= 1


def test_each_epoch_draws_another_part_of_a_common_class() -> None:
    first, second, again = (balanced_positions(TARGETS, 0, epoch) for epoch in (0, 1, 0))
    assert first == again
    assert set(first) != set(second)
    assert balanced_positions(TARGETS, 1, 0) != first
