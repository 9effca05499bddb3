from __future__ import annotations

import pytest
import timm
import torch
from torch import nn
from torchvision.models import get_model  # type: ignore[attr-defined]

import dsft
from dsft.choices import Method
from dsft.conversion import Request
from dsft.training.optim.layer_depth import number_layers


def blocks_of(module: nn.Module, depth: int) -> list[set[str]]:
    """The first parts of the parameters' names, layer by layer."""
    layers: dict[int, set[str]] = {}
    for name, number in number_layers(module).items():
        layers.setdefault(number, set()).add(".".join(name.split(".")[:depth]))
    return [layers[number] for number in range(len(layers))]


def test_blocks_of_a_torchvision_resnet_are_those_of_timms() -> None:
    ours = number_layers(get_model("resnet18", num_classes=3))
    theirs = number_layers(timm.create_model("resnet18", num_classes=3))
    assert ours == theirs
    assert max(ours.values()) == 9


@pytest.mark.parametrize(
    ("name", "depth", "first", "last", "count"),
    [
        ("vgg11", 2, {"features.0"}, {"classifier.6"}, 11),
        ("mobilenet_v3_small", 2, {"features.0"}, {"classifier.3"}, 15),
        ("convnext_tiny", 3, {"features.0.0", "features.0.1"}, {"classifier.2"}, 23),
        ("densenet121", 3, {"features.conv0.weight", "features.norm0.weight", "features.norm0.bias"}, None, 63),
        ("efficientnet_b0", 3, {"features.0.0", "features.0.1"}, {"classifier.1.weight", "classifier.1.bias"}, 19),
    ],
)
def test_torchvisions_blocks_are_layers(
    name: str, depth: int, first: set[str], last: set[str] | None, count: int
) -> None:
    with torch.device("meta"):
        layers = blocks_of(get_model(name), depth)
    assert len(layers) == count
    assert layers[0] == first
    assert (
        last is None or {".".join(part.split(".")[: len(next(iter(last)).split("."))]) for part in layers[-1]} == last
    )


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3, 1, 1))
        self.backbone = get_model("resnet18")
        self.head = nn.Sequential(nn.Linear(1000, 8), nn.LayerNorm(8), nn.Linear(8, 2))


def test_a_backbone_in_a_network_of_ones_own_is_no_single_layer() -> None:
    with torch.device("meta"):
        layers = blocks_of(Wrapped(), 3)
    assert layers[0] == {"scale"}
    assert len(layers) == 1 + 10 + 2
    assert layers[-1] == {"head.2.weight", "head.2.bias"}
    assert layers[-2] == {"head.0.weight", "head.0.bias", "head.1.weight", "head.1.bias"}


@pytest.mark.parametrize("library", ["timm/resnet18", "timm/vgg11", "timm/convnext_atto", "torchvision/vgg11"])
def test_a_converted_layer_keeps_the_place_of_what_it_replaced(library: str) -> None:
    source, _, name = library.partition("/")
    model: nn.Module = timm.create_model(name, num_classes=3) if source == "timm" else get_model(name)
    before = number_layers(model)
    plan = dsft.plan_conversion(model, torch.zeros(1, 3, 32, 32), Request(rank=1, method=Method.FRESH))
    converted = dsft.apply_plan(model, plan)
    after = number_layers(converted)
    assert plan.converted
    assert set(after.values()) == set(before.values())
    for layer in plan.converted:
        number = before[f"{layer.name}.weight"]
        assert {after[f"{layer.name}.{part}.weight"] for part in ("depthwise", "pointwise")} == {number}
    assert all(after[name] == number for name, number in before.items() if name in after)
