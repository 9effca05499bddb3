from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dsft.data import Degradation, JointAugmentation, MaskTransform, RestorationTransform
from dsft.data.joint_transforms import degrade
from dsft.data.seeding import seeded
from dsft.errors import DataError
from dsft.preprocessing import Preprocessing

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
