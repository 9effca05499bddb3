from __future__ import annotations

import json

import pytest
import timm
import torch
from torch import nn

from dsft.choices import Reason, Structure
from dsft.conversion import Inspection, Request, apply_plan, inspect_layers, plan_conversion
from dsft.conversion.request import SEPARABLE
from dsft.measure import count_macs, count_parameters
from tests.zoo import Residual, Shared

IMAGES = torch.randn(2, 3, 8, 8)


def by_name(inspection: Inspection) -> dict[str, dict[str, object]]:
    return {layer["name"]: layer for layer in inspection.to_dict()["layers"]}


def test_layers_have_the_shapes_and_costs_of_the_papers_formula() -> None:
    inspection = inspect_layers(Residual(), IMAGES)
    layers = by_name(inspection)
    assert list(layers) == ["stem", "conv1", "conv2", "skip", "head"]
    conv2 = layers["conv2"]
    assert (conv2["input_shape"], conv2["output_shape"]) == ((8, 8, 8), (16, 4, 4))
    assert (conv2["macs"], conv2["params"]) == (16 * 9 * 8 * 16, 9 * 8 * 16 + 16)
    assert (layers["head"]["kind"], layers["head"]["macs"], layers["head"]["reason"]) == ("Linear", 16 * 5, None)
    assert layers["skip"]["reason"] is Reason.POINTWISE
    assert inspection.macs == count_macs(Residual(), IMAGES) == sum(layer.macs for layer in inspection.layers)
    assert sum(layer["share"] for layer in layers.values()) == pytest.approx(1)  # type: ignore[misc]


def test_rank_1_is_what_the_planner_makes_of_it() -> None:
    model = Residual()
    plans = [plan_conversion(model, IMAGES, Request(rank=1, structures=[each])) for each in SEPARABLE]
    layers = by_name(inspect_layers(model, IMAGES))
    for name in ("stem", "conv1", "conv2"):
        costs = [next(layer.macs_after for layer in plan.layers if layer.name == name) for plan in plans]
        assert layers[name]["rank1_macs"] == min(costs)
    saving = [layer["rank1_saving"] for layer in layers.values()]
    assert inspect_layers(model, IMAGES).rank1_macs == count_macs(model, IMAGES) - sum(saving)  # type: ignore[arg-type]


def test_a_converted_network_shows_its_separable_layers_whole() -> None:
    model = Residual()
    plan = plan_conversion(model, IMAGES, Request(rank=2, exclude=["stem"]))
    apply_plan(model, plan)
    inspection = inspect_layers(model, IMAGES)
    layers = by_name(inspection)
    assert list(layers) == ["stem", "conv1", "conv2", "skip", "head"]
    assert (layers["conv1"]["kind"], layers["conv1"]["kernels"]) == ("DepthwiseSeparableConv2d", 16)
    assert layers["conv1"]["macs"] == plan.converted[0].macs_after
    assert layers["conv1"]["params"] == count_parameters(model.get_submodule("conv1"))
    assert not layers["conv1"]["convertible"]
    assert layers["stem"]["convertible"]
    assert inspection.macs == plan.macs_after


def test_a_low_rank_layer_is_shown_whole_too() -> None:
    model = Residual()
    structures = [Structure.DW_PW, Structure.LOW_RANK]
    plan = plan_conversion(model, IMAGES, Request(rank=2, structures=structures, include=["skip"]))
    apply_plan(model, plan)
    layers = by_name(inspect_layers(model, IMAGES))
    assert list(layers) == ["stem", "conv1", "conv2", "skip", "head"]
    assert (layers["skip"]["kind"], layers["skip"]["kernels"]) == ("LowRankConv2d", 2)
    assert (layers["skip"]["structure"], layers["skip"]["order"]) == (Structure.LOW_RANK, None)
    assert layers["skip"]["macs"] == plan.converted[0].macs_after


@pytest.mark.parametrize("name", ["resnet18", "test_vit", "test_efficientnet"])
def test_the_meta_device_tells_the_same(name: str) -> None:
    real = inspect_layers(timm.create_model(name), torch.zeros(1, 3, 160, 160))
    with torch.device("meta"):
        described = inspect_layers(timm.create_model(name), torch.zeros(1, 3, 160, 160))
    assert described == real
    json.dumps(real.to_dict())


def test_a_layer_that_runs_twice_is_paid_twice() -> None:
    (layer,) = inspect_layers(Shared(), torch.randn(1, 4, 8, 8)).layers
    assert layer.macs == 2 * 64 * 9 * 4 * 4
    assert layer.convertible


def test_attention_is_paid_by_the_network_and_by_no_layer() -> None:
    model = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    inspection = inspect_layers(model, torch.randn(1, 10, 8))
    layers = by_name(inspection)
    assert list(layers) == ["self_attn", "self_attn.out_proj", "linear1", "linear2"]
    assert layers["linear1"]["macs"] == 10 * 8 * 16
    assert inspection.macs == count_macs(model, torch.randn(1, 10, 8))
    assert model.training
