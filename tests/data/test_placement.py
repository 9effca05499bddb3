from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dsft.choices import TargetKind
from dsft.data import PictureTransform, evaluation_transform
from dsft.data.boxes import as_boxes
from dsft.data.placement import Placement, place_image
from dsft.preprocessing import LETTERBOX
from tests.data.test_joint_transforms import GREY

SIDES = st.integers(20, 120)  # timm refuses images that become thinner than a pixel
BORDER = dataclasses.replace(GREY, crop_mode=LETTERBOX, mean=(0.4,), std=(0.2,))


@settings(deadline=None, max_examples=25)
@given(width=SIDES, height=SIDES, rows=st.integers(8, 60), columns=st.integers(8, 60))
def test_images_lie_where_timm_puts_them(width: int, height: int, rows: int, columns: int) -> None:
    own = dataclasses.replace(BORDER, image_size=(rows, columns))
    image = Image.new("L", (width, height), 255)
    expected = evaluation_transform(own)(image).numpy()
    found = PictureTransform(own, TargetKind.BOXES)(image).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    place = place_image((width, height), own)
    white = found[0] > 2
    assert white[place.top : place.top + place.height, place.left : place.left + place.width].all()
    assert white.sum() == place.height * place.width


@settings(deadline=None, max_examples=60)
@given(width=SIDES, height=SIDES, mode=st.sampled_from([LETTERBOX, "squash"]), seed=st.integers(0, 1000))
def test_boxes_return_to_where_they_were(width: int, height: int, mode: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    corners = np.sort(random.uniform(0, [[width, height]], (2, 5, 1, 2)), axis=0).reshape(2, 5, 2)
    boxes = as_boxes(np.concatenate([corners[0], corners[1], np.ones((5, 2))], 1).tolist())
    place = place_image((width, height), dataclasses.replace(BORDER, crop_mode=mode))
    moved = place.from_image(boxes, (width, height))
    left, top, right, bottom = place.sides
    assert (moved[:, :4] >= np.array([left, top] * 2) - 1e-3).all()
    assert (moved[:, :4] <= np.array([right, bottom] * 2) + 1e-3).all()
    np.testing.assert_allclose(place.to_image(moved, (width, height)), boxes, atol=1e-3)


def test_the_aspect_ratio_is_kept_and_the_image_is_centred() -> None:
    square = dataclasses.replace(BORDER, image_size=(64, 64))
    assert place_image((640, 480), square) == Placement(8, 0, 48, 64)
    assert place_image((480, 640), square) == Placement(0, 8, 64, 48)
    assert place_image((640, 480), dataclasses.replace(square, crop_mode="squash")) == Placement(0, 0, 64, 64)
    assert place_image((1000, 1), square).height == 1


def test_boxes_beyond_the_image_are_cut() -> None:
    place = Placement(8, 0, 48, 64)
    found = place.to_image(as_boxes([[-5, 0, 70, 64, 0.5, 1]]), (640, 480))
    np.testing.assert_allclose(found, [[0, 0, 640, 480, 0.5, 1]])
