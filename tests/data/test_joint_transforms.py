from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dsft.data import Degradation, JointAugmentation, MaskTransform, RestorationTransform
from dsft.data.box_transform import BoxTransform
from dsft.data.boxes import Boxes, as_boxes
from dsft.data.joint_transforms import degrade
from dsft.data.seeding import seeded
from dsft.errors import DataError
from dsft.preprocessing import LETTERBOX, Preprocessing

GREY = Preprocessing((20, 28), 1, (0.0,), (1.0,), "nearest", 1.0, "squash")


def picture_of_classes(random: np.random.Generator, height: int, width: int) -> tuple[Image.Image, Image.Image]:
    """Return an image whose grey levels say the class of each pixel, and the mask."""
    mask = random.integers(0, 5, (height // 4, width // 4), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    return Image.fromarray(mask * 40), Image.fromarray(mask)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), height=st.integers(5, 12), width=st.integers(5, 12), low=st.floats(0.2, 1.0))
def test_a_pixel_keeps_its_class_under_every_augmentation(seed: int, height: int, width: int, low: float) -> None:
    image, mask = picture_of_classes(np.random.default_rng(seed), 4 * height, 4 * width)
    transform = MaskTransform(GREY, JointAugmentation(scale=(low, 1.0), hflip=0.5))
    with seeded(seed):
        pixels, classes = transform(image, mask, "a")
    assert pixels.shape == (1, 20, 28)
    assert classes.dtype == torch.int64
    assert torch.equal((pixels[0] * 255 / 40).round().long(), classes)


def test_evaluation_resizes_the_whole_image_and_its_mask() -> None:
    image, mask = picture_of_classes(np.random.default_rng(0), 40, 56)
    pixels, classes = MaskTransform(GREY)(image, mask, "a")
    assert torch.equal(classes, torch.from_numpy(np.array(mask)[1::2, 1::2]).long())
    assert torch.equal((pixels[0] * 255 / 40).round().long(), classes)


def test_a_mask_of_another_size_is_an_error_with_both_sizes() -> None:
    image, _ = picture_of_classes(np.random.default_rng(0), 40, 56)
    with pytest.raises(DataError, match="image 'a': must have the size of its mask, found 56 x 40 and a mask of 40 x"):
        MaskTransform(GREY)(image, Image.new("L", (40, 40)), "a")


def test_noise_has_the_stated_level_and_depends_on_the_seed_only() -> None:
    clean = torch.full((1, 200, 200), 0.5)
    with seeded(3):
        noisy = degrade(clean, Degradation(noise=25))
    with seeded(3):
        assert torch.equal(degrade(clean, Degradation(noise=25)), noisy)
    assert (noisy - clean).std().item() == pytest.approx(25 / 255, rel=0.02)
    assert (noisy - clean).mean().item() == pytest.approx(0, abs=0.002)


def test_a_reduced_image_keeps_its_size_and_loses_detail() -> None:
    fine = torch.tensor([0.0, 1.0]).repeat(1, 16, 8)
    found = degrade(fine, Degradation(downscale=2))
    assert found.shape == fine.shape
    assert found[:, 4:-4, 4:-4].std() < 0.1 * fine.std()


def test_pairs_are_cropped_together_and_clean_images_are_degraded_after_the_crop() -> None:
    clean = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8))
    dark = clean.point(lambda value: value // 2)
    augmentation = JointAugmentation(hflip=0.5)
    for seed in range(10):
        with seeded(seed):
            pixels, truth = RestorationTransform(GREY, None, augmentation)(dark, clean, "a")
        assert pixels.shape == truth.shape == (1, 20, 28)
        torch.testing.assert_close(pixels, (truth * 255 / 2).floor() / 255)
    pixels, truth = RestorationTransform(GREY, Degradation(noise=10), full_size=True)(clean, None, "a")
    assert truth.shape == (1, 40, 50)
    assert 0 < (pixels - truth).std() < 0.1
    assert RestorationTransform(dataclasses.replace(GREY), None)(clean, clean, "a")[0].shape == (1, 20, 28)


def picture_of_boxes(random: np.random.Generator, height: int, width: int) -> tuple[Image.Image, Boxes]:
    """Return an image with one filled box in each quarter, of a grey level that says its class, and the boxes."""
    pixels, rows = np.zeros((height, width), np.uint8), []
    for number in range(4):
        top, left = (number // 2) * height // 2, (number % 2) * width // 2
        low = random.integers(0, [height // 5, width // 5])
        high = random.integers([height // 4, width // 4], [height // 2, width // 2])
        box = (left + low[1], top + low[0], left + max(high[1], low[1] + 6), top + max(high[0], low[0] + 6))
        box = (box[0], box[1], min(box[2], width), min(box[3], height))
        pixels[box[1] : box[3], box[0] : box[2]] = 50 * (number + 1)
        rows.append((*map(float, box), float(number), 0.0))
    return Image.fromarray(pixels), as_boxes(rows)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), height=st.integers(32, 60), width=st.integers(32, 60), low=st.floats(0.2, 1.0))
def test_a_box_keeps_its_pixels_under_every_augmentation(seed: int, height: int, width: int, low: float) -> None:
    image, boxes = picture_of_boxes(np.random.default_rng(seed), height, width)
    size = dataclasses.replace(GREY, image_size=(40, 56))
    with seeded(seed):
        pixels, found = BoxTransform(size, 6, JointAugmentation(scale=(low, 1.0), hflip=0.5))(image, boxes, "a")
    assert pixels.shape == (1, 40, 56)
    assert found.shape == (6, 6)
    levels = (pixels[0] * 255 / 50).round().long() - 1
    # One pixel of the image is at most this large in the result.
    slack = [56 / (low**0.5 * 0.6 * width) + 1, 40 / (low**0.5 * 0.6 * height) + 1]
    for left, top, right, bottom, number, _ in found[found[:, 4] >= 0].tolist():
        rows, columns = torch.nonzero(levels == int(number), as_tuple=True)
        assert len(rows)
        assert abs(left - columns.min()) <= slack[0]
        assert abs(right - 1 - columns.max()) <= slack[0]
        assert abs(top - rows.min()) <= slack[1]
        assert abs(bottom - 1 - rows.max()) <= slack[1]


def test_a_flip_mirrors_boxes_and_evaluation_scales_them() -> None:
    image, boxes = picture_of_boxes(np.random.default_rng(3), 40, 56)
    plain = dataclasses.replace(GREY, image_size=(20, 28))
    _, scaled = BoxTransform(plain, 4)(image, boxes, "a")
    np.testing.assert_allclose(scaled[:, :4], boxes[:, :4] / 2)
    same = dataclasses.replace(GREY, image_size=(40, 56))
    pixels, mirrored = BoxTransform(same, 4, JointAugmentation(hflip=1.0))(image, boxes, "a")
    np.testing.assert_allclose(mirrored[:, [0, 2]], 56 - boxes[:, [2, 0]])
    np.testing.assert_allclose(mirrored[:, [1, 3, 4, 5]], boxes[:, [1, 3, 4, 5]])
    levels = (pixels[0] * 255 / 50).round().long() - 1
    for left, top, right, bottom, number, _ in mirrored.long().tolist():
        assert (levels[top:bottom, left:right] == number).all()
        assert (levels == number).sum() == (bottom - top) * (right - left)


def test_a_box_that_a_crop_mostly_removes_is_dropped() -> None:
    image, boxes = Image.new("L", (100, 100)), as_boxes([[0, 0, 100, 100, 0, 0], [0, 0, 10, 10, 1, 0]])
    transform = BoxTransform(dataclasses.replace(GREY, image_size=(50, 50)), 2, JointAugmentation(scale=(0.25, 0.3)))
    kept = set()
    for seed in range(30):
        with seeded(seed):
            _, found = transform(image, boxes, "a")
        assert found[0].tolist()[4] in (-1, 0, 1)
        for left, top, right, bottom, number, _ in found[found[:, 4] >= 0].tolist():
            assert 0 <= left < right <= 50
            assert 0 <= top < bottom <= 50
            kept.add(number)
        whole = found[found[:, 4] == 0]
        # The crop has less than 0.3 of the area of the large box in every case.
        assert len(whole) == 0 or (whole[:, 2] - whole[:, 0] == 50).all()
    assert 1 in kept


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((5, 5, 5, 9), "every box must have an area, found left, top, right, bottom = 5, 5, 5, 9"),
        ((5, 9, 8, 6), "every box must have an area"),
        ((5, 5, 9, 29), "every box must lie in its 30 x 20 pixels"),
        ((-30, 5, -20, 9), "every box must lie in its 30 x 20 pixels"),
        ((5, 5, float("nan"), 9), "every box must lie in its 30 x 20 pixels"),
    ],
)
def test_boxes_outside_of_the_image_are_refused(box: tuple[float, ...], message: str) -> None:
    with pytest.raises(DataError, match=f"image 'a': {message}"):
        BoxTransform(GREY, 1)(Image.new("L", (30, 20)), as_boxes([[*box, 0, 0]]), "a")


def test_boxes_are_cut_at_the_border_and_padded() -> None:
    _, found = BoxTransform(dataclasses.replace(GREY, image_size=(20, 30)), 3)(
        Image.new("L", (30, 20)), as_boxes([[-1, 0, 31, 20.5, 2, 1]]), "a"
    )
    assert found.tolist() == [[0, 0, 30, 20, 2, 1], [0, 0, 0, 0, -1, 0], [0, 0, 0, 0, -1, 0]]
    with pytest.raises(DataError, match="has no boxes, which this task needs"):
        BoxTransform(GREY, 1)(Image.new("L", (30, 20)), None, "a")


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), height=st.integers(32, 90), width=st.integers(32, 90), low=st.floats(0.3, 1.0))
def test_a_box_keeps_its_pixels_in_a_letterbox(seed: int, height: int, width: int, low: float) -> None:
    image, boxes = picture_of_boxes(np.random.default_rng(seed), height, width)
    own = dataclasses.replace(GREY, image_size=(64, 56), crop_mode=LETTERBOX, mean=(1.0,))
    scale = None if seed % 2 else (low, 1.0)
    with seeded(seed):
        pixels, found = BoxTransform(own, 6, JointAugmentation(scale=scale, hflip=0.5))(image, boxes, "a")
    assert found.shape == (7, 6)
    levels = ((pixels[0] + 1) * 255 / 50).round().long() - 1
    (area,) = found[(found[:, 4] < 0) & (found[:, 2] > 0), :4].long().tolist()
    border = torch.ones(64, 56, dtype=torch.bool)
    border[area[1] : area[3], area[0] : area[2]] = False
    # White is the colour of the border here, and no grey level of a box.
    assert ((pixels[0] == 0) == border).all()
    slack = max(64, 56) / (low**0.5 * 0.6 * min(height, width)) + 1
    for *box, number, _ in found[found[:, 4] >= 0].tolist():
        rows, columns = torch.nonzero(levels == int(number), as_tuple=True)
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert all(abs(side - edge) <= slack for side, edge in zip(box, edges, strict=True))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), height=st.integers(2, 12), width=st.integers(2, 12), low=st.floats(0.2, 1.0))
def test_a_pixel_keeps_its_class_in_crops_for_windows(seed: int, height: int, width: int, low: float) -> None:
    image, mask = picture_of_classes(np.random.default_rng(seed), 4 * height, 4 * width)
    own = dataclasses.replace(GREY, window_overlap=0.5, mean=(1.0,))
    scale = (low, 1.0) if seed % 2 else None
    with seeded(seed):
        pixels, classes = MaskTransform(own, JointAugmentation(scale=scale, hflip=0.5))(image, mask, "a")
    assert pixels.shape == (1, 20, 28)
    known = classes != 255
    assert torch.equal(((pixels[0] + 1) * 255 / 40).round().long()[known], classes[known])
    # What was filled in has no class, and the mean colour.
    assert (pixels[0][~known] == 0).all()
    if scale is None:
        assert known.sum() == min(20, 4 * height) * min(28, 4 * width)


def test_evaluation_in_windows_takes_the_whole_image_and_calibration_its_centre() -> None:
    image, mask = picture_of_classes(np.random.default_rng(0), 40, 16)
    own = dataclasses.replace(GREY, window_overlap=0.5)
    pixels, classes = MaskTransform(own, full_size=True)(image, mask, "a")
    assert torch.equal(classes, torch.from_numpy(np.array(mask)).long())
    assert pixels.shape == (1, 40, 16)
    pixels, classes = MaskTransform(own)(image, mask, "a")
    assert pixels.shape == (1, 20, 28)
    expected = np.full((20, 28), 255)
    expected[:, :16] = np.array(mask)[10:30]
    assert torch.equal(classes, torch.from_numpy(expected).long())
