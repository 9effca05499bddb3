from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from dsft.assembly import Source
from dsft.commands import inspect
from dsft.measure import count_macs, count_parameters
from tests.workshop import Workshop, contents, dsft


@pytest.mark.usefixtures("here")
def test_a_network_of_a_library_needs_no_weights() -> None:
    done = dsft("inspect", "timm/resnet18", "--json", "--image-size", "64")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    model = timm.create_model("resnet18")
    assert (found["model"], found["image_size"]) == ("timm/resnet18", [64, 64])
    assert found["macs"] == count_macs(model, torch.zeros(1, 3, 64, 64))
    assert found["params"] == count_parameters(model)
    reasons = {layer["name"]: layer["reason"] for layer in found["layers"]}
    assert reasons["layer2.0.downsample.0"] == "pointwise"
    assert reasons["layer1.0.conv1"] is None
    assert contents(Path()) == {}


def test_a_converted_model_folder_shows_what_is_converted(workshop: Workshop) -> None:
    done = dsft("inspect", workshop.separable)
    assert done.exit_code == 0, done.stderr
    assert "converted: " in done.stdout
    found = json.loads(dsft("inspect", workshop.separable / "model", "--json").stdout)
    plan = json.loads((workshop.separable / "conversion.json").read_text(encoding="utf-8"))
    assert found["macs"] == plan["converted"]["macs"]
    assert found["image_size"] == [32, 32]


def test_a_weights_file_says_how_many_classes_there_are(here: Path) -> None:
    torch.save(timm.create_model("test_resnet", num_classes=7).state_dict(), here / "own.pth")
    found = json.loads(dsft("inspect", "own.pth", "--model", "timm/test_resnet", "--json").stdout)
    assert found["layers"][-1]["output_shape"] == [7]
    done = dsft("inspect", "own.pth")
    assert done.exit_code == 2
    assert "a weights file needs --model" in done.stderr


def test_a_network_that_the_meta_device_cannot_run_is_run_for_real(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = inspect.run(Source("timm/test_resnet"))
    build = timm.create_model

    def look_at_values(*arguments: Any, **options: Any) -> torch.nn.Module:
        model: torch.nn.Module = build(*arguments, **options)
        next(model.parameters()).sum().item()
        return model

    monkeypatch.setattr(timm, "create_model", look_at_values)
    assert inspect.run(Source("timm/test_resnet")) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["timm/resnet10tt"], "timm has no network called 'resnet10tt'"),
        (["nothere"], "source 'nothere': expected timm/NAME, torchvision/NAME, a model folder or a weights file"),
        (["timm/resnet18", "--model", "timm/resnet18"], "--model: goes with a weights file"),
        (["torchvision/vit_b_16", "--image-size", "64"], "takes images of 224 pixels only"),
        (["timm/vgg11", "--image-size", "8"], "does not accept images of 8 x 8 pixels"),
    ],
)
def test_invalid_inspections_are_reported(here: Path, arguments: list[str], message: str) -> None:
    done = dsft("inspect", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert list(here.iterdir()) == []
