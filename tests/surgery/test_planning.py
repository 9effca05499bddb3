from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from dsft.choices import Decision, Method, Reason
from dsft.errors import ConversionError
from dsft.measure import count_macs
from dsft.surgery import ConversionPlan, apply_plan, plan_conversion
from dsft.surgery.convert import derive_factors
from tests.zoo import Residual, redraw

IMAGES = torch.randn(1, 3, 16, 16)


def kernel_of(layer: Any) -> Tensor:
    kernel: Tensor = layer.weight.detach().as_subclass(Tensor)
    return kernel


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 1.0])
def test_a_budget_is_met_and_the_plan_tells_the_macs_that_torch_counts(share: float) -> None:
    model = redraw(Residual(16))
    plan = plan_conversion(model, IMAGES, budget=share)
    converted = apply_plan(model, plan, derive_factors(model, plan))
    assert plan.macs_after == count_macs(converted, IMAGES) <= share * plan.macs_before
    assert plan.macs_after > 0.9 * share * plan.macs_before
    assert [layer.name for layer in plan.layers] == ["stem", "conv1", "conv2", "skip"]


def test_the_smallest_budget_of_the_message_can_be_met() -> None:
    model = redraw(Residual(16))
    with pytest.raises(ConversionError, match=r"budget macs=0.01: cannot be met: the smallest") as caught:
        plan_conversion(model, IMAGES, budget=0.01)
    smallest = float(str(caught.value).split("allows is ")[1].split(" ")[0])
    plan = plan_conversion(model, IMAGES, budget=smallest)
    assert plan.macs_ratio <= smallest
    with pytest.raises(ConversionError, match="cannot be met"):
        plan_conversion(model, IMAGES, budget=smallest - 2e-4)


def test_relative_errors_are_those_of_the_layers_that_come_out() -> None:
    model = redraw(Residual(16))
    plan = plan_conversion(model, IMAGES, budget=0.4)
    before = {layer.name: kernel_of(model.get_submodule(layer.name)) for layer in plan.converted}
    converted = apply_plan(model, plan, derive_factors(model, plan))
    assert plan.converted
    for layer in plan.converted:
        after = kernel_of(converted.get_submodule(layer.name))
        error = (after - before[layer.name]).norm() / before[layer.name].norm()
        assert float(error) == pytest.approx(layer.relative_error, abs=1e-4)


def test_unequal_ranks_beat_equal_ones_of_the_same_cost() -> None:
    model = redraw(Residual(16))
    uniform = plan_conversion(model, IMAGES, rank=2)
    spread = plan_conversion(model, IMAGES, budget=uniform.macs_ratio)

    def total(plan: ConversionPlan) -> float:
        return sum((layer.relative_error or 0) ** 2 for layer in plan.layers)

    assert total(spread) < total(uniform)


def test_untrained_weights_buy_whole_ranks_alike_for_all_channels() -> None:
    plan = plan_conversion(redraw(Residual(16)), IMAGES, budget=0.5, is_trained=False)
    assert plan.macs_ratio <= 0.5
    assert all(len(set(layer.kernels)) == 1 for layer in plan.converted)
    noisy = plan_conversion(redraw(Residual(16)), IMAGES, budget=0.5)
    assert any(len(set(layer.kernels)) > 1 for layer in noisy.converted)


def test_rank_converts_alike_and_full_is_exact() -> None:
    plan = plan_conversion(redraw(Residual()), IMAGES, rank=2)
    assert {layer.name: layer.kernels for layer in plan.converted} == {
        "stem": (2,) * 3,
        "conv1": (2,) * 8,
        "conv2": (2,) * 8,
    }
    assert {layer.reason for layer in plan.converted} == {Reason.RANK}
    full = plan_conversion(redraw(Residual()), IMAGES, rank="full")
    assert all(layer.relative_error == pytest.approx(0, abs=1e-6) for layer in full.converted)
    assert full.converted[0].kernels == (8,) * 3  # min(8 output channels, 9 positions)


def test_patterns_choose_layers() -> None:
    plan = plan_conversion(Residual(), IMAGES, rank=1, include=["conv*"], exclude=["*2"])
    decisions = {layer.name: (layer.decision, layer.reason) for layer in plan.layers}
    assert decisions["conv1"] == (Decision.CONVERTED, Reason.RANK)
    assert decisions["conv2"] == decisions["stem"] == (Decision.KEPT, Reason.EXCLUDED)
    assert decisions["skip"] == (Decision.KEPT, Reason.ONE_POSITION)


def test_planning_changes_nothing() -> None:
    model = redraw(Residual()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plan_conversion(model, IMAGES, budget=0.5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training


def test_a_plan_survives_json() -> None:
    for method in (Method.SVD, Method.FRESH):
        plan = plan_conversion(redraw(Residual()), IMAGES, budget=0.5, method=method)
        assert ConversionPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    assert "convolutions converted by fresh" in str(plan)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of budget and rank is needed, found neither"),
        ({"budget": 0.5, "rank": 1}, "found both"),
        ({"budget": 0.0}, "above 0 and up to 1 is needed, found 0.0"),
        ({"budget": 1.5}, "found 1.5"),
        ({"budget": float("nan")}, "found nan"),
        ({"rank": 0}, "at least 1, or 'full', is needed, found 0"),
        ({"rank": "half"}, "found 'half'"),
        ({"rank": True}, "found True"),
        ({"rank": 1, "include": "conv*"}, r"include: a list of patterns is needed, such as \['conv\*'\]"),
        ({"rank": 1, "include": ["conv3"]}, "'conv3' matches none .* Did you mean conv2 or conv1"),
        (
            {"rank": 1, "include": ["skip"]},
            "nothing to convert: of 4 convolutions none .*1 kernel of one position",
        ),
    ],
)
def test_contradictions_are_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        plan_conversion(Residual(), IMAGES, **arguments)


def test_a_weight_that_is_not_finite_names_the_layer() -> None:
    model = Residual()
    model.conv1.weight.data[0] = float("nan")
    with pytest.raises(ConversionError, match="layer 'conv1': the weight holds NaN"):
        plan_conversion(model, IMAGES, rank=1)
