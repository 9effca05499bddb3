from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dsft.data.decoding import read_image
from dsft.data.preprocessing_steps import describe_steps
from dsft.data.transforms import evaluation_transform
from tests.data.pictures import model_input
from tests.preprocessing_by_hand import load_by_hand


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images") / "image.png"


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_the_steps_alone_give_the_pixels_of_the_evaluation_transform(place: Path, data: st.DataObject) -> None:
    side = st.integers(5, 90)
    height, width = data.draw(side), data.draw(side)
    pixels = np.random.default_rng(height * 100 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(place)
    size = data.draw(st.sampled_from([(32, 32), (24, 40), (31, 31)]))
    mode = data.draw(st.sampled_from(["center", "squash", "border"]))
    # torchvision cannot pad grayscale images with the list of fill values that timm passes to it.
    channels = 3 if mode == "border" else data.draw(st.sampled_from([1, 3]))
    described = replace(
        model_input(channels, size, data.draw(st.sampled_from([0.875, 0.9, 1.0]))),
        crop_mode=mode,
        interpolation=data.draw(st.sampled_from(["bilinear", "bicubic", "lanczos"])),
    )
    steps = json.loads(json.dumps(describe_steps(described)))
    expected = evaluation_transform(described)(read_image(place)).numpy()[None]
    found = load_by_hand(place, steps)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_length_is_rounded_down_and_reported() -> None:
    resize = describe_steps(model_input(3, (32, 32), 0.875))[1]
    # 32 / 0.875 is 36.57: rounding it would resize to 37 pixels, and score differently.
    assert (resize["size"], resize["rule"], resize["longer_side"]) == (
        36,
        "shorter_side",
        "int(size * longer / shorter)",
    )
    assert resize["antialias"]


def test_windows_take_the_place_of_resizing() -> None:
    described = replace(model_input(3, (32, 48), 1.0), window_overlap=0.25)
    operations = describe_steps(described)
    assert [step["op"] for step in operations] == ["decode", "windows", "to_float32", "normalize", "layout"]
    assert operations[1] == {"op": "windows", "size": [32, 48], "overlap": 0.25, "outputs": "mean"}
