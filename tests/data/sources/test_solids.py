from __future__ import annotations

import numpy as np

from dsft.choices import SplitName, TargetKind
from dsft.data.sources.images import target_kind_of
from dsft.data.sources.solids import CLASSES, COUNTS, SIDE, open_solids


def test_volumes_are_the_same_each_time() -> None:
    one, other = open_solids(), open_solids()
    assert {split: len(source.targets) for split, source in one.items()} == COUNTS
    for split, source in one.items():
        assert source.classes == CLASSES
        assert target_kind_of(source) is TargetKind.MASK
        assert source.identity(5) == other[split].identity(5)
        assert source.read(0).values.shape == (1, SIDE, SIDE, SIDE)


def test_the_mask_is_where_the_solids_are() -> None:
    source = open_solids()[SplitName.TEST]
    for index in range(20):
        values, mask = source.read(index).values[0], source.read_target(index)
        assert set(np.unique(mask)) == {0, 1, 2}
        assert abs(values[mask == 0].mean()) < 0.05
        assert min(values[mask == solid].mean() for solid in (1, 2)) > 0.5


def test_a_box_fills_the_box_around_it_and_a_ball_does_not() -> None:
    source = open_solids()[SplitName.TEST]
    shares: dict[int, list[float]] = {1: [], 2: []}
    for index in range(40):
        for solid, found in shares.items():
            places = np.argwhere(source.read_target(index) == solid)
            found.append(len(places) / float(np.prod(places.max(0) - places.min(0) + 1)))
    assert np.median(shares[2]) == 1
    assert np.median(shares[1]) < 0.65
