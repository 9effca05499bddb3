from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.imagenet_info import ImageNetInfo
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model, get_model_weights  # type: ignore[attr-defined]

from dsft.choices import ModelSource, TaskName
from dsft.errors import CheckpointError, ModelError
from dsft.models import ModelSpec, build_model, load_model
from dsft.models.torchvision_library import names, preprocessing, task_of
from dsft.preprocessing import ClipPreprocessing, Preprocessing
from dsft.progress import Event, Note
from tests.zoo import redraw


def published(name: str) -> WeightsEnum:
    weights: WeightsEnum = get_model_weights(name).DEFAULT  # type: ignore[attr-defined]
    return weights


def of_images(name: str) -> Preprocessing:
    found = preprocessing(name)
    assert isinstance(found, Preprocessing)
    return found


def place_in_cache(name: str, state: dict[str, Tensor], home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put weights where torchvision keeps what it downloaded."""
    path = home / "hub" / "checkpoints" / Path(published(name).url).name
    path.parent.mkdir(parents=True)
    torch.save(state, path)
    monkeypatch.setenv("TORCH_HOME", str(home))
    return path


def test_loads_what_was_downloaded_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = redraw(get_model("squeezenet1_1", weights=None))
    place_in_cache("squeezenet1_1", network.state_dict(), tmp_path, monkeypatch)
    loaded = load_model(ModelSource.TORCHVISION, "squeezenet1_1", pretrained=True)
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(loaded.module.eval()(images), network.eval()(images))
    assert loaded.spec == ModelSpec(ModelSource.TORCHVISION, "squeezenet1_1", 1000, 3)


def test_one_channel_gives_the_result_of_three_equal_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = redraw(get_model("shufflenet_v2_x0_5", weights=None)).eval()
    place_in_cache("shufflenet_v2_x0_5", network.state_dict(), tmp_path, monkeypatch)
    loaded = load_model(ModelSource.TORCHVISION, "shufflenet_v2_x0_5", pretrained=True, in_chans=1)
    images = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(loaded.module.eval()(images), network(images.expand(-1, 3, -1, -1)))
    assert loaded.preprocessing.mean == pytest.approx((0.449,), rel=1e-3)


@pytest.mark.parametrize(("name", "aux_heads"), [("googlenet", False), ("inception_v3", True)])
def test_auxiliary_heads_and_input_range_are_those_of_torchvision(
    name: str, aux_heads: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = redraw(get_model(name, weights=None, aux_logits=True, init_weights=False))
    place_in_cache(name, network.state_dict(), tmp_path, monkeypatch)
    of_torchvision = get_model(name, weights="DEFAULT").eval()
    loaded = load_model(ModelSource.TORCHVISION, name, pretrained=True)

    assert loaded.spec.aux_heads is aux_heads
    assert loaded.module.state_dict().keys() == of_torchvision.state_dict().keys()
    pixels = torch.rand(1, 3, 96, 96)
    preset = published(name).transforms()
    theirs = (pixels - torch.tensor(preset.mean).view(3, 1, 1)) / torch.tensor(preset.std).view(3, 1, 1)
    ours = (pixels - torch.tensor(loaded.preprocessing.mean).view(3, 1, 1)) / 0.5
    with torch.inference_mode():
        torch.testing.assert_close(loaded.module.eval()(ours), of_torchvision(theirs), rtol=1e-3, atol=1e-3)


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        key.replace("norm1", "norm.1")
        .replace("norm2", "norm.2")
        .replace("conv1", "conv.1")
        .replace("conv2", "conv.2"): t
        for key, t in state.items()
    }


def test_reads_densenets_old_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = get_model("densenet121", weights=None).state_dict()
    path = place_in_cache("densenet121", old_names(state), tmp_path, monkeypatch)
    for given in ({"pretrained": True}, {"checkpoint": path}):
        loaded = load_model(ModelSource.TORCHVISION, "densenet121", **given)
        found = loaded.module.state_dict()
        assert all(torch.equal(found[key], tensor) for key, tensor in state.items())


def test_offline_is_an_error_that_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    events: list[Event] = []
    expected = r"torchvision/resnet18: .*not on this machine.*download https:.*resnet18-.*\.pth elsewhere\.$"
    with pytest.raises(ModelError, match=expected):
        load_model(ModelSource.TORCHVISION, "resnet18", pretrained=True, report=events.append)
    assert isinstance(events[0], Note)
    assert "downloading https:" in events[0].message
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_damaged_file_in_the_cache_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = place_in_cache("squeezenet1_1", {}, tmp_path, monkeypatch)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=path.name):
        load_model(ModelSource.TORCHVISION, "squeezenet1_1", pretrained=True)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "efficientnet_v2_s", "swin_t", "mobilenet_v3_large"])
def test_preprocessing_is_torchvisions(name: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((800, 600))
    ours = of_images(name)
    transform = create_transform(
        (3, *ours.image_size),
        interpolation=ours.interpolation,
        mean=ours.mean,
        std=ours.std,
        crop_pct=ours.crop_pct,
        crop_mode=ours.crop_mode,
    )
    torch.testing.assert_close(transform(picture), published(name).transforms()(picture))


def test_classes_are_in_torchvisions_order() -> None:
    info = ImageNetInfo("imagenet-1k")
    categories = published("resnet18").meta["categories"]
    described = info.label_descriptions()
    same = sum(name.lower() in text.lower() for name, text in zip(categories, described, strict=True))
    assert same > 980  # torchvision words a few otherwise, such as "crane bird"


def test_the_smallest_vision_transformer_size_comes_with_its_weights() -> None:
    with torch.device("meta"):
        network = build_model(ModelSpec(ModelSource.TORCHVISION, "vit_h_14", 10, 3))
    assert network.image_size == of_images("vit_h_14").image_size[0] == 518


def test_every_network_has_weights_and_a_preprocessing_that_resizes_to_whole_pixels() -> None:
    for name in names():
        if task_of(name) is TaskName.DETECTION:  # detectors resize images themselves
            continue
        ours, preset = preprocessing(name), published(name).transforms()
        assert isinstance(ours, Preprocessing | ClipPreprocessing)
        resized = preset.resize_size[0]
        assert int(ours.image_size[0] / ours.crop_pct) == resized


def test_random_networks_have_the_papers_auxiliary_heads() -> None:
    loaded = load_model(ModelSource.TORCHVISION, "googlenet", num_classes=4)
    assert loaded.spec.aux_heads
    assert isinstance(loaded.module.aux1, nn.Module)
