"""The source ``smp/ARCHITECTURE-ENCODER``: conversion, training and files through dsft's own commands."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import dsft
from dsft.artifact import ModelDescription, save_model
from dsft.choices import ModelSource, TaskName
from dsft.errors import ModelError
from dsft.models import head_layers, library_of, load_model, replace_head
from tests.quick_conversion import convert_quickly
from tests.zoo import redraw

# Other packages warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("default")

NAME = "segmentation_models_pytorch"
needs_smp = pytest.mark.skipif(importlib.util.find_spec(NAME) is None, reason=f"{NAME} is not installed")
IMAGES = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.skipif(importlib.util.find_spec(NAME) is not None, reason=f"{NAME} is installed")
def test_without_the_package_the_error_names_the_command() -> None:
    with pytest.raises(ModelError, match=r"needs the package segmentation_models_pytorch.*pip install 'dsft\[smp\]'"):
        load_model(ModelSource.SMP, "unet-resnet18")


@needs_smp
@pytest.mark.parametrize("name", ["unet-resnet18", "deeplabv3plus-resnet18", "fpn-efficientnet-b0"])
def test_a_network_is_built_as_its_library_builds_it(name: str) -> None:
    library: Any = importlib.import_module(NAME)
    loaded = load_model(ModelSource.SMP, name, num_classes=5)
    architecture, _, encoder = name.partition("-")
    expected = library.create_model(architecture, encoder, encoder_weights=None, classes=5)
    assert str(loaded.module) == str(expected)
    assert (loaded.task, loaded.spec.num_classes) == (TaskName.SEGMENTATION, 5)
    assert loaded.preprocessing.mean == (0.485, 0.456, 0.406)
    (head,) = head_layers(loaded.module)
    assert head == "segmentation_head.0"
    replaced = replace_head(loaded, 3, ("a", "b", "c"))
    assert replaced.module.eval()(IMAGES).shape == (1, 3, 64, 64)


@needs_smp
def test_a_checkpoint_determines_the_classes(tmp_path: Path) -> None:
    network = redraw(load_model(ModelSource.SMP, "unet-resnet18", num_classes=7).module).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    loaded = load_model(ModelSource.SMP, "unet-resnet18", checkpoint=tmp_path / "weights.pth")
    assert loaded.spec.num_classes == 7
    with torch.no_grad():
        assert torch.equal(loaded.module.eval()(IMAGES), network(IMAGES))


@needs_smp
def test_names_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ModelError, match=r"smp has no network called 'unet-resnet19'. Did you mean unet-resnet"):
        library_of(ModelSource.SMP, "unet-resnet19")
    with pytest.raises(
        ModelError, match=r"model smp/unetplusplus-mit_b0: unetplusplus does not work with the encoder mit_b0"
    ):
        load_model(ModelSource.SMP, "unetplusplus-mit_b0")


@needs_smp
def test_published_weights_that_cannot_be_had_name_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"smp/unet-resnet18: the pretrained weights .*smp-hub/resnet18\.imagenet"):
        load_model(ModelSource.SMP, "unet-resnet18", pretrained=True)


@needs_smp
def test_a_converted_network_is_saved_and_loaded_offline(tmp_path: Path) -> None:
    loaded = load_model(ModelSource.SMP, "unet-resnet18", num_classes=3)
    network, plan = convert_quickly(redraw(loaded.module).eval(), IMAGES)
    save_model(tmp_path / "out", network, ModelDescription(spec=loaded.spec, plan=plan, task=loaded.task))
    found = dsft.load(tmp_path / "out")
    assert isinstance(found, nn.Module)
    with torch.no_grad():
        assert torch.equal(found(IMAGES), network(IMAGES))
