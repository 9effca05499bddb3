from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from dsft.choices import SplitName
from dsft.data.balance import balanced_positions, weigh_classes
from dsft.data.sources import ImageArray
from dsft.data.splits import Split
from dsft.errors import DataError

SIZES = (12, 3, 30, 1)
TARGETS = tuple(target for target, size in enumerate(SIZES) for _ in range(size))


def split() -> Split:
    pixels = np.zeros((len(TARGETS), 4, 4), dtype=np.uint8)
    source = ImageArray("array", ("ant", "bee", "cat", "dog"), pixels, TARGETS)
    return Split(SplitName.TRAIN, source, tuple(range(len(TARGETS))), source.classes)


def test_auto_is_scikit_learns_balanced() -> None:
    expected = compute_class_weight("balanced", classes=np.arange(4), y=np.array(TARGETS))
    assert weigh_classes(split(), "auto") == pytest.approx(list(expected))


def test_given_weights_keep_their_ratios_and_the_size_of_the_loss() -> None:
    weights = weigh_classes(split(), {"bee": 4.0, "dog": 0.5})
    assert np.array(weights) / weights[0] == pytest.approx([1.0, 4.0, 1.0, 0.5])
    assert np.mean([weights[target] for target in TARGETS]) == pytest.approx(1.0)


def test_an_unknown_class_is_named_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"data\.class_weights\.bees: unknown class\. Did you mean bee\?"):
        weigh_classes(split(), {"bees": 2.0})


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
