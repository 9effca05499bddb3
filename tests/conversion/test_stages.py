from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dsft
from dsft.choices import Cost, Method
from dsft.conversion import CalibrationSet, ConversionPlan, LayerLatency, replay_plan
from dsft.devices import Compute
from dsft.errors import ConversionError
from dsft.measure import run_example
from dsft.progress import Event, Started
from tests.zoo import Residual, redraw

IMAGES = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(0))
EXAMPLE = IMAGES[:1]


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def equal_states(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][key], states[1][key]) for key in states[0]
    )


def test_a_plan_that_is_applied_keeps_the_weights() -> None:
    model = redraw(Residual()).eval()
    expected = run_example(model, IMAGES)
    plan = dsft.plan_conversion(model, EXAMPLE, dsft.Request(rank="full"))
    by_hand = dsft.apply_plan(copy.deepcopy(model), plan, dsft.factorize(model, plan))
    assert relative(run_example(by_hand, IMAGES), expected) < 1e-5
    derived = dsft.apply_plan(copy.deepcopy(model), plan)
    assert equal_states(derived, by_hand)
    # Loading a folder replays the plan, and its weights are those of the state dict that follows.
    assert not equal_states(replay_plan(copy.deepcopy(model), plan), by_hand)


def test_the_stages_give_what_convert_gives() -> None:
    model = redraw(Residual()).eval()
    budget = {"macs": 0.5}
    events: list[Event] = []
    calibration = CalibrationSet.read(model, IMAGES, report=events.append)
    plan = dsft.plan_conversion(model, EXAMPLE, dsft.Request(budget=budget), calibration=calibration)
    assert plan.method is Method.REFIT
    converted = dsft.apply_plan(copy.deepcopy(model), plan, dsft.factorize(model, plan, calibration))
    fitted = dsft.reconstruct(model, converted, plan, calibration)
    whole = dsft.convert(model, EXAMPLE, budget=budget, calibration=IMAGES, form="gather")
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(converted.state_dict()[name], value)
    assert [layer.relative_error for layer in fitted.layers] == [
        pytest.approx(layer.relative_error) for layer in whole.plan.layers
    ]
    # The statistics are measured once for the plan and the factors, and once for the reconstruction alone at most.
    assert [event.task for event in events if isinstance(event, Started)].count("collecting statistics") == 1


def test_in_inference_mode_they_give_the_same_and_what_can_be_trained() -> None:
    model, request = redraw(Residual()).eval(), dsft.Request(budget={"macs": 0.5})
    expected, own = dsft.plan_conversion(model, EXAMPLE, request, calibration=IMAGES), copy.deepcopy(model)
    with torch.inference_mode():
        plan = dsft.plan_conversion(model, EXAMPLE, request, calibration=IMAGES)
        converted = dsft.apply_plan(own, plan, dsft.factorize(model, plan, IMAGES))
    assert plan == expected
    converted(IMAGES).sum().backward()


def test_seed_and_task_decide_which_labels_are_sampled() -> None:
    model, budget = redraw(Residual()).eval(), {"macs": 0.5}

    def errors(task: str, seed: int) -> list[float | None]:
        request = dsft.Request(budget=budget, seed=seed)
        plan = dsft.plan_conversion(model, EXAMPLE, request, calibration=IMAGES, task=task)
        return [layer.relative_error for layer in plan.layers]

    assert errors("classification", 0) == errors("classification", 0)
    assert errors("classification", 1) != errors("classification", 0)
    assert errors("multi_label", 0) != errors("classification", 0)


def test_a_plan_is_applied_to_the_network_inside_a_wrapper() -> None:
    model = redraw(Residual()).eval()
    wrapped = nn.DataParallel(copy.deepcopy(model))
    plan = dsft.plan_conversion(wrapped, EXAMPLE, dsft.Request(rank="full"))
    converted = dsft.apply_plan(wrapped, plan)
    assert converted is wrapped.module
    assert relative(run_example(converted, IMAGES), run_example(model, IMAGES)) < 1e-5


def test_a_plan_of_a_fit_needs_data_to_be_applied() -> None:
    model = redraw(Residual()).eval()
    plan = dsft.plan_conversion(model, EXAMPLE, dsft.Request(rank=2), calibration=IMAGES)
    for apply in (lambda: dsft.apply_plan(copy.deepcopy(model), plan), lambda: dsft.factorize(model, plan)):
        with pytest.raises(ConversionError, match=r"method refit: fits the weights to calibration data, found none"):
            apply()
    svd = dsft.plan_conversion(model, EXAMPLE, dsft.Request(rank=2))
    with pytest.raises(ConversionError, match="goes with the method refit, and the plan was made with the method svd"):
        dsft.factorize(model, svd, IMAGES)
    with pytest.raises(ConversionError, match="plan: was made with the method svd, which does not fit weights"):
        dsft.reconstruct(model, model, svd, IMAGES)


def test_factors_of_another_plan_are_an_error() -> None:
    model = redraw(Residual())
    plan = dsft.plan_conversion(model, EXAMPLE, dsft.Request(rank=1))
    factors = dsft.factorize(model, plan)
    del factors["conv2"]
    with pytest.raises(ConversionError, match=r"factors: layer 'conv2' is missing\. Pass the factors of this plan"):
        dsft.apply_plan(model, plan, factors)
    assert type(model.get_submodule("conv1")) is nn.Conv2d
    with pytest.raises(ConversionError, match=r"layer '\w+': the plan needs a convolution there, found nothing"):
        dsft.factorize(nn.Sequential(), plan)


def test_a_plan_is_chosen_by_its_score() -> None:
    model = redraw(Residual(16)).eval()
    expected = run_example(model, IMAGES)
    seen: list[ConversionPlan] = []

    def score(plan: ConversionPlan) -> float:
        seen.append(plan)
        converted = dsft.apply_plan(copy.deepcopy(model), plan)
        return 100 - 100 * relative(run_example(converted, IMAGES), expected)

    plan = dsft.plan_conversion(model, EXAMPLE, dsft.Request(budget=dsft.MaxDrop(8, Cost.MACS)), score=score)
    assert not seen[0].converted
    assert 100 - score(plan) <= 8
    assert plan.macs_ratio == min(each.macs_ratio for each in seen[1:] if 100 - score(each) <= 8)


def test_times_come_from_the_provider_that_is_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    latency: Any = LayerLatency(Compute(torch.device("cpu")))
    monkeypatch.setattr(
        latency, "compare", lambda _, replacements: (2.0, torch.tensor([3.0] * len(replacements)).numpy())
    )
    plan = dsft.plan_conversion(redraw(Residual()), EXAMPLE, dsft.Request(rank=1, only_faster=True), latency=latency)
    assert not plan.converted


@pytest.mark.parametrize(
    ("method", "with_data", "message"),
    [
        ("refit", False, "method refit: fits the weights to calibration data, found none"),
        ("svd", True, "found method 'svd'"),
    ],
)
def test_data_goes_with_the_method_that_needs_it(method: Any, with_data: bool, message: str) -> None:
    calibration = IMAGES if with_data else None
    with pytest.raises(ConversionError, match=message):
        dsft.plan_conversion(redraw(Residual()), EXAMPLE, dsft.Request(rank=1, method=method), calibration=calibration)
