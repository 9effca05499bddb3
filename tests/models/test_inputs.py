from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from dsft.choices import ModelSource
from dsft.errors import ModelError
from dsft.models import load_model, replace_input

NETWORKS = [
    (ModelSource.TIMM, "test_efficientnet"),
    (ModelSource.TIMM, "tresnet_m"),  # folds pixels into channels
    (ModelSource.TIMM, "crossvit_tiny_240"),  # has two first layers
    (ModelSource.TORCHVISION, "squeezenet1_1"),
]


@pytest.mark.parametrize("in_chans", [1, 2, 4, 6])
def test_does_what_timm_does(tmp_path: Path, in_chans: int) -> None:
    loaded = load_model(ModelSource.TIMM, "test_resnet")
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(loaded.module.state_dict(), path)
    of_timm = timm.create_model(
        "test_resnet", pretrained=True, in_chans=in_chans, pretrained_cfg_overlay={"file": str(path)}
    ).state_dict()
    found = replace_input(loaded, in_chans).module.state_dict()
    assert all(torch.equal(found[key], tensor) for key, tensor in of_timm.items())


@pytest.mark.parametrize(("source", "name"), NETWORKS)
def test_gray_and_doubled_images_give_the_same(source: ModelSource, name: str) -> None:
    loaded = load_model(source, name, num_classes=3)
    loaded.module.eval()
    gray = torch.randn(1, 1, *loaded.preprocessing.size)
    color = torch.randn(1, 3, *loaded.preprocessing.size)
    with torch.inference_mode():
        of_gray = replace_input(loaded, 1).module.eval()(gray)
        of_doubled = replace_input(loaded, 6).module.eval()(torch.cat([color, color], dim=1))
        expected_gray, expected = loaded.module(gray.expand(-1, 3, -1, -1)), loaded.module(color)
    assert not torch.allclose(expected_gray, expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(of_gray, expected_gray, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(of_doubled, expected, rtol=1e-3, atol=1e-5)


def test_other_channels_take_the_average_of_mean_and_std() -> None:
    gray = load_model(ModelSource.TIMM, "resnet18", in_chans=1).preprocessing
    assert gray.mean == pytest.approx(((0.485 + 0.456 + 0.406) / 3,))
    assert gray.std == pytest.approx(((0.229 + 0.224 + 0.225) / 3,))
    assert gray.channels == 1


def test_a_first_layer_that_cannot_be_adapted_is_refused() -> None:
    with torch.device("meta"):  # it is large
        loaded = load_model(ModelSource.TIMM, "naflexvit_base_patch16_gap")
        with pytest.raises(ModelError, match=r"cannot be adapted from 3 to 1 image channels\. Use 3"):
            replace_input(loaded, 1)
