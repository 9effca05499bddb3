from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from dsft.choices import Cost, Decision, Method, Reason, Structure
from dsft.conversion import Budget, ConversionPlan, Request, apply_plan, factorize, plan_conversion, replay_plan
from dsft.conversion.calibration_set import CalibrationSet
from dsft.conversion.discovery.sites import Site
from dsft.conversion.factorization import Weighting
from dsft.conversion.planning.analysis import NetworkAnalysis, analyze_network
from dsft.conversion.planning.planner import Planner
from dsft.conversion.request import SEPARABLE
from dsft.errors import ConversionError
from dsft.measure import count_macs, count_parameters
from tests.zoo import ManyKinds, Residual, redraw

IMAGES = torch.randn(1, 3, 16, 16)


def within(share: float, **options: Any) -> Request:
    return Request(budget=Budget(Cost.MACS, share), **options)


def kernel_of(layer: Any) -> Tensor:
    kernel: Tensor = layer.weight.detach().as_subclass(Tensor)
    return kernel


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 1.0])
# Few layers in sizes of many kernels come less near to a budget.
@pytest.mark.parametrize(("structures", "spent"), [("auto", 0.8), (SEPARABLE, 0.9)])
def test_a_budget_is_met_and_the_plan_tells_the_macs_that_torch_counts(
    share: float, structures: Any, spent: float
) -> None:
    model = redraw(Residual(16))
    plan = plan_conversion(model, IMAGES, within(share, structures=structures))
    converted = apply_plan(model, plan)
    assert plan.macs_after == count_macs(converted, IMAGES) <= share * plan.macs_before
    assert plan.macs_after > spent * share * plan.macs_before
    assert [layer.name for layer in plan.layers] == ["stem", "conv1", "conv2", "skip"]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("norm_between", [False, True])
def test_a_budget_of_parameters_is_met_and_the_plan_tells_how_many_are_left(share: float, norm_between: bool) -> None:
    model = redraw(Residual(16))
    method = Method.FRESH if norm_between else Method.SVD
    budget = Budget(Cost.PARAMS, share)
    request = Request(budget=budget, method=method, structures=SEPARABLE, norm_between=norm_between)
    plan = plan_conversion(model, IMAGES, request)
    assert plan.params_before == count_parameters(model)
    converted = apply_plan(model, plan)
    assert plan.params_after == count_parameters(converted)
    assert 0.85 * share < plan.params_after / plan.params_before <= share
    with pytest.raises(ConversionError, match=r"budget params=0\.01: cannot be met"):
        plan_conversion(redraw(Residual(16)), IMAGES, Request(budget=Budget(Cost.PARAMS, 0.01)))


def test_parameters_are_those_of_every_kind_and_of_normalised_weights() -> None:
    model: Any = redraw(ManyKinds())
    model.mix = nn.utils.parametrizations.weight_norm(model.mix)
    plan = plan_conversion(model, torch.randn(1, 1, 2, 10, 12), Request(rank=1))
    assert "mix" in {layer.name for layer in plan.converted}
    assert plan.params_before == count_parameters(model)
    assert plan.params_after == count_parameters(replay_plan(model, plan))


def test_a_budget_of_parameters_spends_where_parameters_are() -> None:
    # At 16 positions 64 channels cost fewer operations than 8 channels at 1,024, and far more parameters.
    net = nn.Sequential(
        nn.Conv2d(8, 8, 3, padding=1), nn.AvgPool2d(8), nn.Conv2d(8, 64, 1), nn.Conv2d(64, 64, 3, padding=1)
    )
    shares = {
        cost: plan_conversion(redraw(net), torch.randn(1, 8, 32, 32), Request(budget=Budget(cost, 0.7)))
        for cost in (Cost.MACS, Cost.PARAMS)
    }
    assert [layer.name for layer in shares[Cost.PARAMS].converted] == ["3"]
    assert shares[Cost.MACS].macs_ratio <= 0.7 < shares[Cost.PARAMS].macs_ratio


def test_the_smallest_budget_of_the_message_can_be_met() -> None:
    model = redraw(Residual(16))
    with pytest.raises(ConversionError, match=r"budget macs=0.01: cannot be met: the smallest") as caught:
        plan_conversion(model, IMAGES, within(0.01))
    smallest = float(str(caught.value).split("allows is ")[1].split(" ")[0])
    plan = plan_conversion(model, IMAGES, within(smallest))
    assert plan.macs_ratio <= smallest
    with pytest.raises(ConversionError, match="cannot be met"):
        plan_conversion(model, IMAGES, within(smallest - 2e-4))


@pytest.mark.parametrize("structures", [SEPARABLE, [Structure.DW_PW], [Structure.PW_DW]])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_every_kind_meets_the_budget_in_every_order(share: float, structures: Sequence[Structure]) -> None:
    model, images = redraw(ManyKinds()), torch.randn(1, 1, 2, 10, 12)
    plan = plan_conversion(model, images, within(share, structures=structures))
    converted = apply_plan(model, plan)
    assert plan.macs_after == count_macs(converted, images) <= share * plan.macs_before
    assert {layer.structure for layer in plan.converted} <= set(structures)


def test_the_order_is_that_which_loses_less_at_its_price() -> None:
    images = torch.randn(1, 32, 12, 12)

    def chosen(conv: nn.Module) -> Structure | None:
        return plan_conversion(conv, images, within(0.4, structures=SEPARABLE)).layers[0].structure

    # With a stride pw_dw pays its pointwise convolution at the larger side; a transposed one is the other way round.
    assert chosen(redraw(nn.Conv2d(32, 32, 3, stride=2, padding=1))) is Structure.DW_PW
    assert chosen(redraw(nn.ConvTranspose2d(32, 32, 3, stride=2))) is Structure.PW_DW
    # At equal cost the structure of the weights decides.
    for order in (Structure.DW_PW, Structure.PW_DW):
        conv = nn.Conv2d(32, 32, 3, padding=1)
        with torch.no_grad():
            conv.weight.copy_(rank_one_kernel(order))
        assert chosen(conv) is order


def rank_one_kernel(order: Structure) -> Tensor:
    """Return a kernel that one depthwise kernel for each input or output channel makes exact."""
    kernels, points = torch.randn(32, 9), torch.randn(32, 32, 1)
    products = points * (kernels if order is Structure.DW_PW else kernels.unsqueeze(1))
    return products.reshape(32, 32, 3, 3)


def test_the_reason_tells_a_choice_from_what_cannot_be_cheaper() -> None:
    conv = nn.Conv2d(32, 32, 3, padding=1)
    (kept,) = plan_conversion(conv, torch.randn(1, 32, 8, 8), within(1.0)).layers
    assert (kept.decision, kept.reason) == (Decision.KEPT, Reason.WITHIN_BUDGET)
    # Each of 8 outputs needs a kernel, and its pointwise convolution is paid at all 64 positions.
    wide = nn.Sequential(conv, nn.Conv2d(32, 2, 1), nn.Conv2d(2, 8, (2, 1), stride=2))
    layers = plan_conversion(wide, torch.randn(1, 32, 8, 8), within(0.9, structures=[Structure.PW_DW])).layers
    assert (layers[-1].decision, layers[-1].reason) == (Decision.KEPT, Reason.NOT_CHEAPER)


def test_low_rank_goes_where_it_is_allowed_and_meets_budgets_that_need_it() -> None:
    model, images = redraw(timm.create_model("test_resnet", num_classes=5)), torch.randn(1, 3, 32, 32)
    separable = plan_conversion(model, images, Request(rank=1))
    points = {layer.name for layer in separable.layers if layer.reason is Reason.POINTWISE}
    others = [structure for structure in Structure if structure is not Structure.LOW_RANK]
    for cost in (Cost.MACS, Cost.PARAMS):
        with pytest.raises(ConversionError, match=r"or allow the structures pw_dw_pw, .*low_rank\.") as caught:
            plan_conversion(model, images, Request(budget=Budget(cost, 0.01), structures=others))
        with pytest.raises(ConversionError, match=r"Ask for more, or exclude fewer layers\."):
            plan_conversion(model, images, Request(budget=Budget(cost, 1e-4), structures=tuple(Structure)))
        share = 0.8 * float(str(caught.value).split("allows is ")[1].split(" ")[0])
        plan = plan_conversion(model, images, Request(budget=Budget(cost, share), structures=tuple(Structure)))
        low_rank = {layer.name for layer in plan.layers if layer.structure is Structure.LOW_RANK}
        assert low_rank
        assert low_rank <= points
        converted = apply_plan(copy.deepcopy(model), plan)
        assert plan.macs_after == count_macs(converted, images)
        assert plan.params_after == count_parameters(converted)
        assert {Cost.MACS: plan.macs_ratio, Cost.PARAMS: plan.params_ratio}[cost] <= share
        assert ConversionPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
        assert "low_rank, " in str(plan)


def test_only_the_structures_that_are_allowed_are_taken() -> None:
    model = redraw(Residual())
    plan = plan_conversion(model, IMAGES, Request(rank=2, structures=[Structure.LOW_RANK]))
    assert {layer.name: layer.structure for layer in plan.converted} == {"skip": Structure.LOW_RANK}
    assert plan.converted[0].kernels == (2,)
    assert {layer.reason for layer in plan.layers if not layer.is_converted} == {Reason.NO_ALLOWED_STRUCTURE}
    plan = plan_conversion(model, IMAGES, Request(rank=2, structures=[Structure.PW_DW]))
    assert {layer.structure for layer in plan.converted} == {Structure.PW_DW}
    fresh = plan_conversion(model, IMAGES, Request(rank=2, structures=tuple(Structure), method=Method.FRESH))
    assert fresh.converted[-1].structure is Structure.LOW_RANK
    assert set(factorize(model, fresh)) == {layer.name for layer in fresh.converted}


def test_a_low_rank_layer_of_no_use_stays_dense() -> None:
    # The first is of rank 1 for nothing, the second can only become dearer.
    net = redraw(nn.Sequential(nn.Conv2d(16, 16, 1), nn.Conv2d(16, 1, 1)))
    plan = plan_conversion(net, torch.randn(1, 16, 8, 8), within(0.7, structures=[Structure.LOW_RANK]))
    assert [layer.reason for layer in plan.layers] == [Reason.BUDGET, Reason.NOT_CHEAPER]
    assert [layer.is_converted for layer in plan.layers] == [True, False]


def test_more_orders_never_lose_more() -> None:
    model = redraw(Residual(16))

    def lost(*structures: Structure) -> float:
        plan = plan_conversion(model, IMAGES, within(0.5, structures=structures))
        return sum((layer.relative_error or 0) ** 2 for layer in plan.layers)

    assert lost(*SEPARABLE) <= min(lost(Structure.DW_PW), lost(Structure.PW_DW)) + 0.05


def test_relative_errors_are_those_of_the_layers_that_come_out() -> None:
    model = redraw(Residual(16))
    plan = plan_conversion(model, IMAGES, within(0.4, structures=SEPARABLE))
    before = {layer.name: kernel_of(model.get_submodule(layer.name)) for layer in plan.converted}
    converted = apply_plan(model, plan)
    assert plan.converted
    for layer in plan.converted:
        after = kernel_of(converted.get_submodule(layer.name))
        error = (after - before[layer.name]).norm() / before[layer.name].norm()
        assert float(error) == pytest.approx(layer.relative_error, abs=1e-4)


def test_unequal_ranks_beat_equal_ones_of_the_same_cost() -> None:
    model = redraw(Residual(16))
    uniform = plan_conversion(model, IMAGES, Request(rank=2))
    spread = plan_conversion(model, IMAGES, within(uniform.macs_ratio))

    def total(plan: ConversionPlan) -> float:
        return sum((layer.relative_error or 0) ** 2 for layer in plan.layers)

    assert total(spread) < total(uniform)


@pytest.mark.parametrize("structures", [SEPARABLE, [Structure.DW_PW], [Structure.PW_DW]])
def test_untrained_weights_buy_whole_ranks_alike_for_all_channels(structures: Sequence[Structure]) -> None:
    plan = plan_conversion(redraw(Residual(16)), IMAGES, within(0.5, structures=structures), is_trained=False)
    assert plan.macs_ratio <= 0.5
    assert all(len(set(layer.kernels)) == 1 for layer in plan.converted)
    noisy = plan_conversion(redraw(Residual(16)), IMAGES, within(0.5, structures=structures))
    assert any(len(set(layer.kernels)) > 1 for layer in noisy.converted)


def test_rank_converts_alike_and_full_is_exact() -> None:
    plan = plan_conversion(redraw(Residual()), IMAGES, Request(rank=2))
    assert {layer.name: layer.kernels for layer in plan.converted} == {
        "stem": (2,) * 3,
        "conv1": (2,) * 8,
        "conv2": (2,) * 8,
    }
    assert {layer.reason for layer in plan.converted} == {Reason.RANK}
    full = plan_conversion(redraw(Residual()), IMAGES, Request(rank="full"))
    assert all(layer.relative_error == pytest.approx(0, abs=1e-6) for layer in full.converted)
    assert full.converted[0].kernels == (8,) * 3  # min(8 output channels, 9 positions)


def test_patterns_choose_layers() -> None:
    plan = plan_conversion(Residual(), IMAGES, Request(rank=1, include=["conv*"], exclude=["*2"]))
    decisions = {layer.name: (layer.decision, layer.reason) for layer in plan.layers}
    assert decisions["conv1"] == (Decision.CONVERTED, Reason.RANK)
    assert decisions["conv2"] == decisions["stem"] == (Decision.KEPT, Reason.EXCLUDED)
    assert decisions["skip"] == (Decision.KEPT, Reason.POINTWISE)


def test_planning_changes_nothing() -> None:
    model = redraw(Residual()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plan_conversion(model, IMAGES, within(0.5))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training


def test_a_plan_survives_json() -> None:
    for method in (Method.SVD, Method.FRESH):
        plan = plan_conversion(redraw(Residual()), IMAGES, within(0.5, method=method))
        assert ConversionPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    assert "convolutions converted by fresh" in str(plan)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rank": 1, "include": ["conv3"]}, "'conv3' matches none .* Did you mean conv2 or conv1"),
        (
            {"rank": 1, "include": ["skip"]},
            "no convolution can be converted, of 4 .*1: 1x1 kernel",
        ),
    ],
)
def test_contradictions_are_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        plan_conversion(Residual(), IMAGES, Request(**arguments))


def test_a_weight_that_is_not_finite_names_the_layer() -> None:
    model = Residual()
    model.conv1.weight.data[0] = float("nan")
    with pytest.raises(ConversionError, match="layer 'conv1': the weight holds NaN"):
        plan_conversion(model, IMAGES, Request(rank=1))


def test_errors_beyond_the_quadratic_model_count_by_their_square_where_dsft_chooses() -> None:
    torch.manual_seed(0)
    stem, middle, last = nn.Conv2d(3, 16, 7, 2, 3), nn.Conv2d(16, 64, 3, 1, 1), nn.Conv2d(64, 64, 3, 1, 1)
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 5))
    model = nn.Sequential(stem, nn.ReLU(), middle, nn.ReLU(), last, nn.ReLU(), *head)
    images = torch.randn(8, 3, 32, 32)
    weigh = CalibrationSet.read(model, images).weightings

    def analyze(request: Request, largest: float = math.inf) -> NetworkAnalysis:
        def measured(sites: Sequence[Site]) -> dict[str, Weighting]:
            return {name: replace(each, largest_rise=largest) for name, each in weigh(sites).items()}

        return analyze_network(model, images, request, weigh=measured)

    chosen, named = within(0.4, structures="auto"), within(0.4, structures=["dw_pw"])
    for candidates in (analysis := analyze(chosen)).candidates:
        plain = candidates[0].errors
        limit = float(np.median(plain))
        found = analysis.costs[Cost.MACS].options(candidates, largest_rise=limit).alternatives[0].errors
        np.testing.assert_allclose(found, np.where(plain > limit, plain**2 / limit, plain))
    for request, is_other in ((chosen, True), (named, False)):
        plans = [Planner(analyze(request, largest), request).plan() for largest in (math.inf, 1e-12)]
        assert (plans[0] != plans[1]) is is_other
