"""The steps before the conversion to a tensor, whatever comes after it."""

from typing import Any

import numpy as np
import pytest
import torchvision
from PIL import Image
from timm.data.transforms_factory import create_transform

from dsft.compat.timm_transforms import image_steps


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_they_resize_and_crop(crop_mode: str) -> None:
    pipeline: Any = create_transform((3, 24, 24), crop_pct=0.9, crop_mode=crop_mode)
    steps = image_steps(pipeline.transforms)
    assert 1 <= len(steps) <= 2
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    found = image
    for step in steps:
        found = step(found)
    assert found.size == (24, 24)
    for step in pipeline.transforms[len(steps) :]:
        found = step(found)
    assert (found == pipeline(image)).all()


def test_any_number_of_steps_may_follow() -> None:
    transforms: Any = torchvision.transforms
    crop, tensor = transforms.CenterCrop(8), transforms.ToTensor()
    assert image_steps([crop, tensor, transforms.Normalize(0.5, 0.5), transforms.Normalize(0.5, 0.5)]) == [crop]
    assert image_steps([tensor]) == []
    assert image_steps([crop]) == [crop]
