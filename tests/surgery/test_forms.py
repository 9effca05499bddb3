from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from dsft.choices import Form, Order
from dsft.devices import Compute
from dsft.separable import allowed_forms
from dsft.surgery import Request, convert, plan_conversion
from dsft.surgery import forms as module
from dsft.surgery.forms import first_form, measured_form
from dsft.surgery.sites import Site, find_sites
from tests.zoo import Residual, redraw

IMAGES = torch.randn(2, 3, 16, 16)
CPU = Compute(torch.device("cpu"))
EQUAL = allowed_forms([2] * 4, 1, Order.DW_PW)


def site_of(conv: nn.Module, images: torch.Tensor) -> Site:
    (site,) = find_sites(conv, images)
    return site


@pytest.mark.parametrize("fastest", EQUAL)
def test_the_fastest_form_is_chosen_and_like_layers_are_measured_once(
    fastest: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[tuple[Any, ...]] = []

    def compare(layers: Any, inputs: Any, *_: Any) -> tuple[float, ...]:
        measured.append(tuple(inputs[0].shape))
        return tuple(1.0 if layer.form is fastest else 2.0 for layer in layers)

    monkeypatch.setattr(module, "compare_latency", compare)
    choose = measured_form(CPU)
    small, large = (site_of(nn.Conv2d(4, 4, 3), torch.zeros(1, 4, side, side)) for side in (8, 9))
    for site in (small, small, large):
        assert choose(site, (2,) * 4, EQUAL) is fastest
    assert measured == [(1, 4, 8, 8), (1, 4, 9, 9)]


def test_a_small_advantage_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "compare_latency", lambda *_: (1.0, 0.97, 0.96, 2.0))
    site = site_of(nn.Conv2d(4, 4, 3), torch.zeros(1, 4, 8, 8))
    assert measured_form(CPU)(site, (2,) * 4, EQUAL) is EQUAL[0]


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d])
@pytest.mark.parametrize("channels_last", [False, True])
def test_measuring_runs_for_every_kind_and_moves_no_random_numbers(kind: Any, channels_last: bool) -> None:
    images = torch.zeros(1, 4, *(6,) * (2 if kind is nn.ConvTranspose2d else int(kind.__name__[4])))
    site = site_of(kind(4, 4, 3), images)
    forms = allowed_forms([2] * 4, 1, Order.DW_PW, transposed=kind is nn.ConvTranspose2d)
    before = torch.get_rng_state()
    choose = measured_form(Compute(torch.device("cpu"), channels_last=channels_last))
    assert choose(site, (2,) * 4, forms) in forms
    assert torch.equal(torch.get_rng_state(), before)


def test_a_form_that_is_asked_for_is_taken_wherever_it_can_be() -> None:
    model = redraw(Residual())
    plan = convert(model, IMAGES, rank=2, form="multiplier").plan
    assert {layer.form for layer in plan.converted} == {Form.MULTIPLIER}
    unequal = convert(model, IMAGES, budget={"macs": 0.6}, order="dw_pw", form="multiplier").plan
    taken = {layer.form for layer in unequal.converted if len(set(layer.kernels)) > 1}
    assert taken == {Form.GATHER}


def test_without_measurement_a_rule_decides() -> None:
    plan = plan_conversion(redraw(Residual()), IMAGES, Request(rank=2))
    assert {layer.form for layer in plan.converted} == {Form.CONCATENATE}
    asked = plan_conversion(redraw(Residual()), IMAGES, Request(rank=2, form=Form.PASSES))
    assert {layer.form for layer in asked.converted} == {Form.PASSES}
    site = site_of(nn.Conv2d(2, 4, 3), torch.zeros(1, 2, 8, 8))
    assert first_form(site, (2, 1), allowed_forms([2, 1], 1, Order.DW_PW)) is Form.GATHER


@pytest.mark.parametrize("form", EQUAL)
def test_all_forms_give_the_same_network_and_survive_json(form: Form) -> None:
    model = redraw(Residual()).eval()
    conversion = convert(model, IMAGES, rank="full", form=form)
    torch.testing.assert_close(conversion.model.eval()(IMAGES), model(IMAGES), atol=1e-4, rtol=1e-4)
    assert type(conversion.plan).from_dict(conversion.plan.to_dict()) == conversion.plan
    assert f"kernels, {form} (" in str(conversion.plan)
