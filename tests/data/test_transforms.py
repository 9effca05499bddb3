from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform

from dsft.data import Transform, evaluation_transform, training_transform
from dsft.data.seeding import seeded
from dsft.errors import DataError, RecipeError
from dsft.preprocessing import Preprocessing
from tests.data.pictures import model_input

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
IMAGE = Image.fromarray(PIXELS)
NOTHING: dict[str, Any] = {
    "scale": None, "hflip": 0.0, "auto_augment": None, "color_jitter": None, "erase": 0.0
}  # fmt: skip
POLICIES = [
    "rand-m9-mstd0.5-inc1",
    "rand-mstd1-tweights",
    "rand-m5-n3-t3aw",
    "augmix-m5-w4-d2",
    "original",
    "v0r",
    "3a",
]


def training(preprocessing: Preprocessing, **changes: Any) -> Transform:
    return training_transform(preprocessing, **{**NOTHING, **changes})


def test_evaluation_without_resizing_crops_the_centre_and_normalises() -> None:
    image = evaluation_transform(model_input(size=(12, 12)))(IMAGE)
    expected = (PIXELS[:, 4:16] / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.25, 0.3]
    assert image.dtype == torch.float32
    np.testing.assert_allclose(image.permute(1, 2, 0).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_evaluation_is_timms_own(mode: str) -> None:
    for size in ((10, 10), (8, 14)):
        given = Preprocessing(size, 3, (0.5,) * 3, (0.2,) * 3, "bicubic", 0.875, mode)
        timms = create_transform((3, *size), mean=given.mean, std=given.std, interpolation="bicubic",
                                 crop_pct=0.875, crop_mode=mode)  # fmt: skip
        image = evaluation_transform(given)(IMAGE)
        assert image.shape == (3, *size)
        assert torch.equal(image, timms(IMAGE))


def test_channels_decide_between_grayscale_and_rgb() -> None:
    gray = evaluation_transform(model_input(1, (12, 12)))(IMAGE)
    assert gray.shape == (1, 12, 12)
    luma = PIXELS[:, 4:16] @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    np.testing.assert_allclose(gray[0].numpy() * 0.2 + 0.5, luma / 255, atol=1.1 / 255)
    rgb = evaluation_transform(model_input(3, (12, 12)))(IMAGE.convert("L"))
    assert rgb.shape == (3, 12, 12)
    with pytest.raises(DataError, match=r"grayscale \(1 channel\) or RGB.*found a model with 4"):
        evaluation_transform(Preprocessing((8, 8), 4, (0.5,) * 4, (0.5,) * 4, "bilinear", 1.0, "center"))


def test_training_without_augmentation_equals_evaluation() -> None:
    for crop_pct in (1.0, 0.8):
        given = model_input(crop_pct=crop_pct)
        evaluated = evaluation_transform(given)(IMAGE)
        assert torch.equal(training(given)(IMAGE), evaluated)
        assert torch.equal(training(given, hflip=1.0)(IMAGE), evaluated.flip(-1))


def test_the_random_crop_keeps_to_its_share_of_the_area() -> None:
    ramp = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1)))
    crop = training(model_input(1, (16, 16)), scale=(0.25, 0.25))
    spans = []
    for seed in range(20):
        with seeded(seed):
            row = crop(ramp)[0, 0]
        spans.append(float(row[-1] - row[0]) * 0.2 * 255 / 4 * 16 / 15)
    # An aspect between 3/4 and 4/3 makes the crop's width 64 * sqrt(0.25 * aspect), 27.7 to 37.0.
    assert 27 < min(spans) < max(spans) < 38
    assert max(spans) - min(spans) > 3


def test_jitter_and_erasing_change_images() -> None:
    plain = training(model_input())(IMAGE)
    for change in ({"color_jitter": 0.4}, {"erase": 1.0}):
        with seeded(0):
            assert not torch.equal(training(model_input(), **change)(IMAGE), plain)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_timms_policies_work_in_gray_and_colour_and_travel_to_worker_processes(policy: str, channels: int) -> None:
    transform = pickle.loads(pickle.dumps(training(model_input(channels), auto_augment=policy)))  # noqa: S301
    seen = set()
    for seed in range(30):
        with seeded(seed):
            image = transform(IMAGE)
        assert image.shape == (channels, 8, 8)
        seen.add(image.numpy().tobytes())
    assert len(seen) > 5


@pytest.mark.parametrize("policy", ["rand-m10-inc1-p1-n9", "rand-m0-n9-p1", "v0", "augmix-m10-mstd0-w9"])
def test_the_strongest_posterizing_leaves_an_image(policy: str) -> None:
    transform = training(model_input(), auto_augment=policy)
    for seed in range(40):
        with seeded(seed):
            assert transform(IMAGE).isfinite().all()


@pytest.mark.parametrize(
    "policy",
    [
        "rnad-m9",
        "random-m9",
        "rand-m9-foo",
        "rand-m9-x3",
        "rand-m9.5",
        "rand-tfoo",
        "augmix-q3",
        "rand--m9",
        "",
    ],
)
def test_a_policy_that_timm_would_misread_or_ignore_is_an_error(policy: str) -> None:
    with pytest.raises(RecipeError, match=r"augment.auto_augment: timm cannot parse the policy .*rand-m9-mstd0.5-inc1"):
        training(model_input(), auto_augment=policy)


def test_jitter_that_timm_would_leave_out_is_an_error() -> None:
    with pytest.raises(RecipeError, match=r"augment.color_jitter: timm ignores it beside .*found 0.4"):
        training(model_input(), auto_augment="rand-m9", color_jitter=0.4)
    assert training(model_input(), auto_augment="3a", color_jitter=0.4)(IMAGE).shape == (3, 8, 8)
