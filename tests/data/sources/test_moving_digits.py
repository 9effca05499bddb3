from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from dsft.choices import SplitName
from dsft.data.sources.frames import ClipArray
from dsft.data.sources.moving_digits import COUNTS, DIRECTIONS, FRAMES, SIDE, open_moving_digits


@pytest.fixture(scope="module")
def splits() -> Mapping[SplitName, ClipArray]:
    return open_moving_digits()


def test_clips_are_the_same_each_time(splits: Mapping[SplitName, ClipArray]) -> None:
    one, other = splits, open_moving_digits()
    assert {split: len(source.targets) for split, source in one.items()} == COUNTS
    for split, source in one.items():
        assert source.identity(7) == other[split].identity(7)
        assert np.bincount(source.targets).tolist() == [COUNTS[split] // len(DIRECTIONS)] * len(DIRECTIONS)
    assert one[SplitName.VAL].read(0).read(range(FRAMES)).shape == (FRAMES, SIDE, SIDE, 1)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_what_changes_moves_in_the_direction(splits: Mapping[SplitName, ClipArray], name: str) -> None:
    """The centre of what appears is ahead of the centre of what disappears."""
    source = splits[SplitName.VAL]
    ahead = np.zeros(2)
    for index, target in enumerate(source.targets):
        if source.classes[int(str(target))] == name:
            frames = source.read(index).read(range(FRAMES))[..., 0].astype(float)
            change = frames[-3:].mean(0) - frames[:3].mean(0)
            grid = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"))
            weights = change * (np.abs(change) > 80)
            ahead += (grid * weights).sum((1, 2)) / np.abs(weights).sum()
    expected = np.array(DIRECTIONS[name])
    assert ahead @ expected / np.linalg.norm(ahead) / np.linalg.norm(expected) > 0.9
