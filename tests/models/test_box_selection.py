from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import get_model  # type: ignore[attr-defined]

from dsft.choices import ModelSource
from dsft.errors import ExportError, ModelError
from dsft.models import Detector, ModelSpec, build_model, wrap_detector
from dsft.models.box_selection import select_boxes
from dsft.runtimes.tracing import trace
from dsft.tasks import DETECTION


def trained(network: Any, side: int) -> Detector:
    """Return a detector with the statistics of random images, and heads whose scores differ."""
    network.train()
    with torch.no_grad():
        network.backbone(torch.randn(4, 3, side, side))
    for name, layer in network.head.classification_head.named_modules():
        if isinstance(layer, nn.Conv2d) and (name == "cls_logits" or layer.kernel_size == (1, 1)):
            nn.init.normal_(layer.weight, std=0.2 if name == "cls_logits" else 3.0)
            nn.init.constant_(layer.bias, -1.0)  # type: ignore[arg-type]
    return wrap_detector(network, "own").eval()


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("ssdlite320_mobilenet_v3_large", 160),
        pytest.param("retinanet_resnet50_fpn", 96, marks=pytest.mark.slow),
        pytest.param("fcos_resnet50_fpn", 96, marks=pytest.mark.slow),
    ],
)
def test_the_selection_is_that_of_torchvision(name: str, side: int) -> None:
    torch.manual_seed(0)
    module = trained(get_model(name, weights=None, weights_backbone=None, num_classes=4), side)
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        expected, found = module(images), select_boxes(module.network, images, 100)
    assert (expected[:, :, 5] >= 0).sum() > 20
    # Equal scores come in any order, so that some of the lowest may be left out.
    is_clear = DETECTION.scorer.margin(expected) > 1e-5
    assert is_clear.sum() > 20
    assert DETECTION.scorer.agrees(expected, found)[is_clear].all()
    torch.testing.assert_close(DETECTION.scorer.align(expected, found), expected, atol=1e-3, rtol=1e-4)


def test_a_selection_of_few_boxes_is_padded() -> None:
    torch.manual_seed(0)
    module: Any = build_model(ModelSpec(ModelSource.BUILTIN, "fcos_64", 5, 1)).eval()
    images = torch.randn(3, 1, 48, 48)
    for threshold in (0.0, 0.012, 0.013, 1.0):
        module.network.score_thresh = threshold
        with torch.no_grad():
            torch.testing.assert_close(select_boxes(module.network, images, 100), module(images))


def test_a_two_stage_network_is_not_exported() -> None:
    network = get_model("fasterrcnn_mobilenet_v3_large_320_fpn", weights=None, weights_backbone=None, num_classes=2)
    module = wrap_detector(network, "own").eval()
    with pytest.raises(ModelError, match="operator torchvision::roi_align"):
        select_boxes(module.network, torch.zeros(1, 3, 64, 64), 100)
    with pytest.raises(ExportError, match=r"only one-stage detectors .*torchvision::roi_align"):
        trace(module, torch.zeros(2, 3, 64, 64))
