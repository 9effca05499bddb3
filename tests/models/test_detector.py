from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model  # type: ignore[attr-defined]

from dsft.choices import ModelSource, TaskName
from dsft.errors import ModelError
from dsft.measure import count_macs
from dsft.models import Detector, ModelSpec, as_detector, build_model, load_model, replace_head, wrap_detector
from dsft.models.detector import count_labels
from dsft.models.load import preprocessing_of

SMALL = ModelSpec(ModelSource.BUILTIN, "fcos_64", 3, 1)
NAMES = ("fasterrcnn_mobilenet_v3_large_320_fpn", "retinanet_resnet50_fpn", "fcos_resnet50_fpn", "ssd300_vgg16")
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:]]
LITE = "ssdlite320_mobilenet_v3_large"


def boxes_of(*rows: tuple[float, ...], room: int = 3) -> Tensor:
    padded = torch.zeros(1, room, 6)
    padded[:, :, 4] = -1
    for index, row in enumerate(rows):
        padded[0, index] = torch.tensor(row)
    return padded


@pytest.fixture(scope="module")
def small() -> Detector:
    torch.manual_seed(0)
    module = build_model(SMALL)
    assert isinstance(module, Detector)
    return module


def test_the_losses_are_those_of_torchvision(small: Detector) -> None:
    images = torch.randn(2, 1, 48, 48)
    targets = torch.cat([boxes_of((3, 4, 30, 31, 2, 0), (10, 8, 20, 20, 0, 1)), boxes_of()])
    small.train()
    lists = [
        {"boxes": torch.tensor([[3.0, 4, 30, 31]]), "labels": torch.tensor([3])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    network: Any = small.network
    expected = network(list(images), lists)
    losses = small(images, targets)
    assert losses.shape == (3,)
    torch.testing.assert_close(losses.sum(), sum(expected.values()))


def test_detections_are_those_of_torchvision(small: Detector) -> None:
    small.eval()
    images = torch.randn(2, 1, 40, 56)
    network: Any = small.network
    network.score_thresh = 0.0
    with torch.no_grad():
        found, expected = small(images), network(list(images))
    assert found.shape == (2, 100, 6)
    for rows, own in zip(found, expected, strict=True):
        is_object = own["labels"] > 0
        kept = rows[rows[:, 5] >= 0]
        assert len(kept) == min(int(is_object.sum()), 100) > 5
        torch.testing.assert_close(kept[:, :4], own["boxes"][is_object])
        torch.testing.assert_close(kept[:, 4], own["scores"][is_object])
        assert torch.equal(kept[:, 5].long() + 1, own["labels"][is_object])
        assert (kept[:, 4].diff() <= 0).all()
    network.score_thresh = 2.0
    with torch.no_grad():
        assert torch.equal(small(images), torch.tensor([0.0, 0, 0, 0, 0, -1]).repeat(2, 100, 1))


def test_images_are_neither_resized_nor_normalized_again() -> None:
    seen: list[Tensor] = []
    module = wrap_detector(get_model("ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None), "own")
    network: Any = module.network
    network.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        module.eval()(images)
    assert torch.equal(seen[0], images)


def test_the_raw_view_shares_its_weights_and_does_not_depend_on_thresholds(small: Detector) -> None:
    small.eval()
    raw = small.raw_view()
    assert all(one is other for one, other in zip(raw.parameters(), small.parameters(), strict=True))
    images = torch.randn(2, 1, 48, 48)
    outputs = raw(images)
    assert [tuple(each.shape) for each in outputs] == [(2, 144, 1), (2, 144, 4), (2, 144, 4)]
    assert all(each.requires_grad for each in outputs)
    with torch.no_grad():
        assert as_detector(raw)(images).shape == (2, 100, 6)
    assert count_macs(small, images) == count_macs(raw, images)


@pytest.mark.parametrize("name", [NAMES[0], *SLOW])
def test_torchvisions_detectors_train_and_get_other_heads(name: str) -> None:
    spec = ModelSpec(ModelSource.TORCHVISION, name, 4, 3)
    loaded = load_model(ModelSource.TORCHVISION, name, num_classes=4)
    assert loaded.task is TaskName.DETECTION
    assert loaded.spec == spec
    replaced = replace_head(loaded, 2, ("a", "b"))
    module = replaced.module
    assert isinstance(module, Detector)
    assert module.num_classes == 2
    assert count_labels(module.network) == 3
    before, after = loaded.module.state_dict(), module.state_dict()
    changed = {
        key for key in after if before[key].shape != after[key].shape or not torch.equal(before[key], after[key])
    }
    assert changed
    assert all(re.search("cls_logits|box_predictor|classification_head.module_list", key) for key in changed)
    side = 300 if name.startswith("ssd") else 128
    images = torch.randn(1, 3, side, side)
    losses = module.train()(images, boxes_of((10, 10, 90, 100, 1, 0)))
    assert losses.dim() == 1
    assert losses.isfinite().all()
    losses.sum().backward()
    with torch.no_grad():
        found = module.eval()(images)
    assert found.shape == (1, 100, 6)
    assert found[..., 5].max() < 2
    raw = module.raw_view()(images)
    assert all(each.shape[0] == 1 for each in raw)


@pytest.mark.parametrize("name", [NAMES[0], LITE, SLOW[-1]])
def test_a_weights_file_of_torchvision_tells_its_classes(name: str, tmp_path: Any) -> None:
    network = get_model(name, weights=None, weights_backbone=None, num_classes=6)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    loaded = load_model(ModelSource.TORCHVISION, name, checkpoint=tmp_path / "weights.pth")
    assert loaded.spec.num_classes == 5
    module: Any = loaded.module
    for key, tensor in network.state_dict().items():
        assert torch.equal(module.network.state_dict()[key], tensor)


@pytest.mark.parametrize("name", [NAMES[0], LITE, SLOW[-1]])
def test_the_input_of_published_weights(name: str) -> None:
    network: Any = get_model(name, weights=None, weights_backbone=None, num_classes=2)
    found = preprocessing_of(ModelSpec(ModelSource.TORCHVISION, name, 2, 3))
    assert found.mean == pytest.approx(network.transform.image_mean)
    assert found.std == pytest.approx(network.transform.image_std)


def test_other_networks_are_refused() -> None:
    with pytest.raises(ModelError, match="interface of torchvision's detectors, found Linear"):
        wrap_detector(nn.Linear(2, 2), "own")
    with pytest.raises(ModelError, match="a network for masks or key points"):
        load_model(ModelSource.TORCHVISION, "maskrcnn_resnet50_fpn")
