from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from dsft.choices import ModelSource
from dsft.errors import CheckpointError, ModelError
from dsft.models import ModelSpec, build_model, load_model
from tests.zoo import redraw

NETWORKS = [(ModelSource.TIMM, "test_resnet"), (ModelSource.TORCHVISION, "shufflenet_v2_x0_5")]


def weights_of(spec: ModelSpec) -> dict[str, Tensor]:
    return redraw(build_model(spec)).state_dict()


def holds(loaded: Any, state: dict[str, Tensor]) -> bool:
    found = loaded.module.state_dict()
    return found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.parametrize(("source", "name"), NETWORKS)
def test_random_weights(source: ModelSource, name: str) -> None:
    loaded = load_model(source, name)
    assert loaded.spec == ModelSpec(source, name, 1000, 3)
    assert (loaded.classes, loaded.notes) == (None, ("Random weights.",))
    small = load_model(source, name, num_classes=4, in_chans=1)
    assert small.spec == ModelSpec(source, name, 4, 1)
    assert small.module.eval()(torch.randn(1, 1, 64, 64)).shape == (1, 4)


@pytest.mark.parametrize(("source", "name"), NETWORKS)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_decides_classes_and_channels(source: ModelSource, name: str, suffix: str, tmp_path: Path) -> None:
    spec = ModelSpec(source, name, num_classes=6, in_chans=2)
    state = weights_of(spec)
    path = tmp_path / f"w{suffix}"
    save: Any = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    save(state, path)
    loaded = load_model(source, name, checkpoint=path)
    assert loaded.spec == spec
    assert holds(loaded, state)
    assert loaded.classes is None
    assert str(path.name) in loaded.notes[0]
    assert (loaded.preprocessing.channels, len(loaded.preprocessing.mean)) == (2, 2)


def test_the_origin_of_weights_in_a_training_checkpoint_is_reported(tmp_path: Path) -> None:
    state = weights_of(ModelSpec(ModelSource.TIMM, "test_resnet", 6, 3))
    averaged = {f"module.{key}": tensor + 1 for key, tensor in state.items()}
    torch.save({"state_dict": state, "state_dict_ema": averaged, "epoch": 3}, tmp_path / "w.pth.tar")
    loaded = load_model(ModelSource.TIMM, "test_resnet", checkpoint=tmp_path / "w.pth.tar")
    assert holds(loaded, {key: tensor + 1 for key, tensor in state.items()})
    assert re.search(r"'state_dict_ema', with the prefix 'module\.' removed", loaded.notes[0])


def test_another_number_of_classes_replaces_the_head(tmp_path: Path) -> None:
    state = weights_of(ModelSpec(ModelSource.TIMM, "test_resnet", 6, 3))
    torch.save(state, tmp_path / "w.pth")
    loaded = load_model(ModelSource.TIMM, "test_resnet", checkpoint=tmp_path / "w.pth", num_classes=9)
    assert loaded.module.state_dict()["fc.weight"].shape[0] == loaded.spec.num_classes == 9
    assert torch.equal(loaded.module.state_dict()["conv1.0.weight"], state["conv1.0.weight"])


def test_the_users_class_table(tmp_path: Path) -> None:
    torch.save(weights_of(ModelSpec(ModelSource.TIMM, "test_resnet", 2, 3)), tmp_path / "w.pth")
    load = partial(load_model, ModelSource.TIMM, "test_resnet", checkpoint=tmp_path / "w.pth")
    assert load(classes=("cat", "dog")).classes == ("cat", "dog")
    with pytest.raises(CheckpointError, match="must name its 2 classes, found 3 names"):
        load(classes=("cat", "dog", "hen"))


def test_reads_the_original_authors_file(tmp_path: Path) -> None:
    state = weights_of(ModelSpec(ModelSource.TIMM, "test_convnext", 7, 3))
    names = [
        (r"^stem\.", "downsample_layers.0."),
        (r"^stages\.(\d)\.blocks\.", r"stages.\1."),
        (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"conv_dw", "dwconv"),
        (r"mlp\.fc", "pwconv"),
        (r"^head\.norm\.", "norm."),
        (r"^head\.fc\.", "head."),
    ]
    original = {}
    for key, tensor in state.items():
        for pattern, replacement in names:
            key = re.sub(pattern, replacement, key)
        original[key] = tensor
    torch.save({"model": original}, tmp_path / "convnext.pth")
    loaded = load_model(ModelSource.TIMM, "test_convnext", checkpoint=tmp_path / "convnext.pth")
    assert loaded.spec.num_classes == 7
    assert holds(loaded, state)


@pytest.mark.parametrize(("source", "name"), [*NETWORKS, (ModelSource.TIMM, "test_convnext")])
def test_a_file_of_another_network_is_refused(source: ModelSource, name: str, tmp_path: Path) -> None:
    torch.save(weights_of(ModelSpec(ModelSource.TIMM, "test_vit", 5, 3)), tmp_path / "w.pth")
    expected = rf"w\.pth' for {source}/{name}: the weights do not fit the model\. \d+ missing: .*\d+ unexpected: "
    with pytest.raises(CheckpointError, match=expected):
        load_model(source, name, checkpoint=tmp_path / "w.pth")


def test_a_file_that_lacks_one_tensor_is_refused(tmp_path: Path) -> None:
    state = weights_of(ModelSpec(ModelSource.TIMM, "test_resnet", 5, 3))
    del state["layer1.0.conv1.weight"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"1 missing: layer1\.0\.conv1\.weight\. Name the network"):
        load_model(ModelSource.TIMM, "test_resnet", checkpoint=tmp_path / "w.pth")


@pytest.mark.parametrize("aux_heads", [True, False])
def test_a_file_decides_about_auxiliary_heads(tmp_path: Path, aux_heads: bool) -> None:
    spec = ModelSpec(ModelSource.TORCHVISION, "googlenet", 5, 3, aux_heads)
    state = build_model(spec).state_dict()
    torch.save(state, tmp_path / "w.pth")
    loaded = load_model(ModelSource.TORCHVISION, "googlenet", checkpoint=tmp_path / "w.pth")
    assert loaded.spec == spec
    assert holds(loaded, state)


def test_published_weights_or_a_file_not_both(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="pretrained and checkpoint exclude each other"):
        load_model(ModelSource.TIMM, "test_resnet", pretrained=True, checkpoint=tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("source", "name", "fixed"),
    [
        (ModelSource.TIMM, "test_resnet", False),
        (ModelSource.TIMM, "test_vit", True),
        (ModelSource.TORCHVISION, "squeezenet1_1", False),
        (ModelSource.TORCHVISION, "maxvit_t", True),
    ],
)
def test_knows_which_networks_take_one_size_only(source: ModelSource, name: str, fixed: bool) -> None:
    with torch.device("meta"):
        loaded = load_model(source, name)
    assert loaded.fixed_size is fixed
