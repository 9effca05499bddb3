from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from dsft.choices import SplitName, TargetKind
from dsft.data.sources import scenes
from dsft.data.sources.scenes import (
    DIGITS,
    SCENES,
    SIDE,
    Scenes,
    compose_scene,
    draw_scene,
    open_scenes,
    scene_boxes,
)
from dsft.errors import DataError


def test_a_scene_depends_on_its_split_and_index_only() -> None:
    first = [draw_scene(SplitName.VAL, index) for index in (3, 4)]
    compose_scene.cache_clear()
    second = [draw_scene(SplitName.VAL, index) for index in (4, 3)]
    for one, other in zip(first, reversed(second), strict=True):
        np.testing.assert_array_equal(one, other)
    found = [draw_scene(split, index)[0].tobytes() for split in SplitName for index in range(10)]
    assert len(set(found)) == 30


def test_a_mask_lies_on_the_ink_of_digits() -> None:
    for index in range(20):
        pixels, mask = draw_scene(SplitName.TRAIN, index)
        assert pixels.shape == mask.shape == (SIDE, SIDE)
        assert set(np.unique(mask)) <= {0, *(digit + 1 for digit in DIGITS)}
        assert 0.01 < (mask > 0).mean() < 0.5
        assert pixels[mask > 0].mean() > pixels[mask == 0].mean() + 40


def test_splits_share_no_digit() -> None:
    drawn = [{image.tobytes() for image in scenes._digits(split)[0]} for split in SplitName]
    assert len(set.union(*drawn)) == sum(map(len, drawn))
    bunch = load_digits()
    assert sum(map(len, (scenes._digits(split)[1] for split in SplitName))) == np.isin(bunch.target, DIGITS).sum()


@pytest.mark.parametrize(
    ("name", "kind", "classes"), [("segmentation", TargetKind.MASK, 6), ("restoration", TargetKind.IMAGE, 1)]
)
def test_a_task_has_its_ground_truth(name: str, kind: TargetKind, classes: int) -> None:
    for split, source in open_scenes(name).items():
        assert isinstance(source, Scenes)
        assert (len(source.keys), source.target_kind, len(source.classes)) == (SCENES[split], kind, classes)
        target = source.read_target(0)
        assert (target is None) == (kind is TargetKind.IMAGE)
        if target is not None:
            np.testing.assert_array_equal(np.asarray(target), draw_scene(split, 0)[1])


def test_other_scenes_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"scenes has segmentation, detection, restoration, found 'segmentatoin'.* segmentation"
    ):
        open_scenes("segmentatoin")


def test_a_box_encloses_the_pixels_of_its_digit() -> None:
    covered = np.zeros(2)
    for index in range(60):
        (pixels, mask), boxes = draw_scene(SplitName.TEST, index), scene_boxes(SplitName.TEST, index)
        assert 0 < len(boxes) <= 3
        assert pixels.shape == (SIDE, SIDE)
        inside = np.zeros_like(mask, bool)
        for left, top, right, bottom, digit, is_crowd in boxes.astype(int):
            place = (slice(top, bottom), slice(left, right))
            inside[place] |= mask[place] == digit + 1
            assert not is_crowd
            own = mask[place] == digit + 1
            assert own.any()
            if len(boxes) == 1:
                # Nothing covers it, so that it reaches all four sides.
                assert all(side.any() for side in (own[0], own[-1], own[:, 0], own[:, -1]))
        covered += inside.sum(), (mask > 0).sum()
    # The rest belongs to digits that are hidden by others.
    assert covered[0] / covered[1] > 0.98
    source = Scenes(SplitName.TEST, TargetKind.BOXES)
    assert source.classes == tuple(map(str, DIGITS))
    assert source.targets[0] == tuple(sorted({int(number) for number in scene_boxes(SplitName.TEST, 0)[:, 4]}))
