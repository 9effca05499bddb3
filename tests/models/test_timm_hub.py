"""Networks that timm reads in a folder or in a repository of the Hugging Face hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from timm.models import save_for_hf
from torch import nn

from dsft.assembly.inputs import as_images
from dsft.choices import ModelSource
from dsft.errors import CheckpointError, ModelError, PretrainedWeightsError
from dsft.models import build_model, load_model
from dsft.models.libraries import library_of
from tests.zoo import redraw

REPOSITORY = "someone/grains"
CLASSES = ("oat", "rye", "wheat")


@pytest.fixture
def network() -> nn.Module:
    network: Any = redraw(timm.create_model("test_resnet", num_classes=3)).eval()
    network.pretrained_cfg = {**network.pretrained_cfg, "mean": (0.1, 0.2, 0.3), "crop_pct": 0.8}
    return network  # type: ignore[no-any-return]


@pytest.fixture
def folder(network: nn.Module, tmp_path: Path) -> Path:
    """A folder as timm writes it for the hub."""
    save_for_hf(network, str(tmp_path / "stored"), model_config={"label_names": list(CLASSES)}, safe_serialization=True)
    return tmp_path / "stored"


@pytest.fixture
def repository(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same in the local cache of the hub's client."""
    cache = tmp_path / "hub" / f"models--{REPOSITORY.replace('/', '--')}"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("0" * 40)
    shutil.copytree(folder, cache / "snapshots" / ("0" * 40))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return f"hf-hub:{REPOSITORY}"


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("stored", ["folder", "repository"])
def test_it_is_the_network_that_was_stored(stored: str, network: nn.Module, request: pytest.FixtureRequest) -> None:
    place = request.getfixturevalue(stored)
    name = place if stored == "repository" else f"local-dir:{place}"
    loaded = load_model(ModelSource.TIMM, name, pretrained=True)
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(loaded.module.eval()(images), network(images))
    assert loaded.classes == CLASSES
    assert (loaded.preprocessing.mean, as_images(loaded.preprocessing).crop_pct) == ((0.1, 0.2, 0.3), 0.8)
    assert loaded.notes == (f"Pretrained weights of timm/{name}.",)
    # A model folder rebuilds it without the repository.
    assert (loaded.spec.name, loaded.spec.num_classes) == ("test_resnet", 3)
    build_model(loaded.spec).load_state_dict(network.state_dict())


def test_another_number_of_classes_and_channels(folder: Path) -> None:
    loaded = load_model(ModelSource.TIMM, f"local-dir:{folder}", pretrained=True, in_chans=1, num_classes=7)
    assert loaded.module(torch.zeros(1, 1, 64, 64)).shape == (1, 7)
    assert loaded.classes is None


def test_without_its_weights_it_is_the_architecture_with_its_preprocessing(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    loaded = load_model(ModelSource.TIMM, f"local-dir:{folder}")
    assert (loaded.spec.num_classes, as_images(loaded.preprocessing).crop_pct) == (3, 0.8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "dsft"}, "timm cannot build|none of timm's"),
        ({"architecture": "grainnet"}, r"timm cannot build what its config\.json describes .*Unknown model"),
        ({"model_args": {"num_classes": 3, "output_stride": 8}}, "built with arguments of its own"),
    ],
)
def test_what_a_model_folder_cannot_record(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit(folder, **changes)
    with pytest.raises(ModelError, match=message):
        load_model(ModelSource.TIMM, f"local-dir:{folder}", pretrained=True)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"timm/local-dir:.*nowhere: expected the configuration .*config\.json"):
        library_of(ModelSource.TIMM, f"local-dir:{tmp_path / 'nowhere'}").require_pretrained(
            f"local-dir:{tmp_path / 'nowhere'}"
        )


def test_damaged_weights_are_named(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match=r"timm/local-dir:.* are damaged"):
        load_model(ModelSource.TIMM, f"local-dir:{folder}", pretrained=True)


def test_offline_is_an_error_that_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        PretrainedWeightsError, match=r"timm/hf-hub:someone/grains: .*download config\.json of someone/grains"
    ):
        load_model(ModelSource.TIMM, "hf-hub:someone/grains", pretrained=True)
