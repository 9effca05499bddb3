from __future__ import annotations

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]
from torch import nn

import dsft
from dsft.choices import Sched
from dsft.errors import RecipeError
from dsft.training.optim.optimizer import make_optimizer
from dsft.training.optim.parameter_groups import parameter_groups
from dsft.training.optim.schedule import make_schedule
from tests.training.pieces import make_net, optimizer_settings, schedule_settings


def by_name(module: nn.Module, groups: list[dict[str, object]], key: str) -> dict[str, object]:
    found = {id(p): group[key] for group in groups for p in group["params"]}  # type: ignore[attr-defined]
    return {name: found[id(p)] for name, p in module.named_parameters() if id(p) in found}


def test_layer_decay_is_timms_own() -> None:
    model = timm.create_model("resnet18", num_classes=3)
    ours = parameter_groups(model, optimizer_settings(weight_decay=0.1, layer_decay=0.7), {})
    theirs = param_groups_layer_decay(model, weight_decay=0.1, layer_decay=0.7)
    for key in ("lr_scale", "weight_decay"):
        assert by_name(model, ours, key) == pytest.approx(by_name(model, theirs, key))


@pytest.mark.parametrize("sched", ["cosine", "constant", "step", "poly"])
def test_every_schedule_applies_the_scales(sched: Sched) -> None:
    net = make_net()
    settings = optimizer_settings("adamw", 1e-2, layer_decay=0.5)
    optimizer = make_optimizer(net, settings)
    plan = schedule_settings(sched, 4, warmup_epochs=1, decay_epochs=2 if sched == "step" else None)
    set_rate = make_schedule(optimizer, plan, 5)
    for step in (0, 3, 7, 12):
        set_rate(step)
        whole = {group["lr"] / group["lr_scale"] for group in optimizer.param_groups}
        assert max(whole) == pytest.approx(min(whole))
        rates = by_name(net, optimizer.param_groups, "lr")
        # Two convolutions, each with its norm, then the head.
        assert rates["0.weight"] == rates["1.bias"] == pytest.approx(rates["7.weight"] / 4)  # type: ignore[operator]
        assert rates["3.weight"] == rates["4.bias"] == pytest.approx(rates["7.weight"] / 2)  # type: ignore[operator]


def test_the_first_pattern_that_matches_multiplies() -> None:
    net = make_net()
    settings = optimizer_settings(layer_decay=0.5, lr_mult=(("head", 10.0), ("3.*", 0.2), ("*.weight", 3.0)))
    scales = by_name(net, parameter_groups(net, settings, {"head": ("7.weight", "7.bias")}), "lr_scale")
    expected = {"0.weight": 0.75, "1.weight": 0.75, "1.bias": 0.25, "3.weight": 0.1}
    expected |= {"4.weight": 1.5, "4.bias": 0.5, "7.weight": 10.0, "7.bias": 10.0}
    assert scales == pytest.approx(expected)


def test_a_pattern_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(RecipeError, match=r"optim\.lr_mult\.layer9\.\*: must match a trainable parameter"):
        parameter_groups(make_net(), optimizer_settings(lr_mult=(("layer9.*", 0.1),)), {"head": (), "converted": ()})


def test_depthwise_kernels_decay_by_choice() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 6, 3)
            self.own = nn.Conv2d(6, 6, 3, groups=6)
            self.one = nn.Conv2d(1, 2, 3)

    net = Net()
    groups = parameter_groups(net, optimizer_settings(depthwise_decay=False), {})
    exempt = {name for name, decay in by_name(net, groups, "weight_decay").items() if decay == 0}
    assert exempt == {"conv.bias", "own.weight", "own.bias", "one.bias"}


@pytest.mark.parametrize("order", ["dw_pw", "pw_dw"])
def test_those_of_converted_layers_are_depthwise(order: str) -> None:
    net = dsft.convert(make_net().eval(), torch.zeros(1, 2, 5, 5), rank=2, structures=[order]).model
    for choice in (True, False):
        groups = parameter_groups(net, optimizer_settings(weight_decay=0.1, depthwise_decay=choice), {})
        decay = by_name(net, groups, "weight_decay")
        assert {decay[f"{layer}.depthwise.weight"] for layer in (0, 3)} == {0.1 if choice else 0.0}
        assert {decay[f"{layer}.pointwise.weight"] for layer in (0, 3)} == {0.1}


def test_no_parameter_is_lost_or_counted_twice() -> None:
    model = timm.create_model("convnext_atto", num_classes=3)
    groups = parameter_groups(model, optimizer_settings(layer_decay=0.8, lr_mult=(("*norm*", 2.0),)), {})
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in model.parameters())
