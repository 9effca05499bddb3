from __future__ import annotations

import pytest
import torch
from torch import nn

from dsft.errors import RecipeError
from dsft.training.optim.freezing import Phase, describe_phases, enter_phase, phase_at, plan_phases
from dsft.training.settings import FreezePhase
from tests.training.pieces import freeze_phase, make_net

HEAD = ("7.weight", "7.bias")


def plan(*phases: FreezePhase, module: nn.Module | None = None, converted: tuple[str, ...] = ()) -> tuple[Phase, ...]:
    module = module if module is not None else make_net()
    return plan_phases(module, phases, steps_per_epoch=10, head=HEAD, converted=converted)


def trained(module: nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


def test_a_phase_is_found_by_its_step() -> None:
    phases = plan(freeze_phase("7it", ("head",)), freeze_phase("1.5ep", ("head", "3.*")))
    assert [phase.end for phase in phases] == [7, 15, None]
    assert [phase_at(phases, step) for step in (0, 6, 7, 14, 15, 999)] == [
        phases[index] for index in (0, 0, 1, 1, 2, 2)
    ]


def test_words_and_patterns_name_parameters() -> None:
    phases = plan(freeze_phase("1ep", ("head", "converted", "1.b*")), converted=("3.weight",))
    assert phases[0].trained == {*HEAD, "3.weight", "1.bias"}
    assert phases[1].trained == {name for name, _ in make_net().named_parameters()}


def test_entering_a_phase_sets_gradients_and_norms() -> None:
    net = make_net()
    phases = plan(freeze_phase("1ep", ("head", "4.weight")), module=net)
    enter_phase(net, phases[0])
    assert trained(net) == {*HEAD, "4.weight"}
    assert [net[index].training for index in (1, 4, 6)] == [False, True, True]
    enter_phase(net, phases[1])
    assert trained(net) == {name for name, _ in net.named_parameters()}
    assert all(part.training for part in net.modules())


def test_a_norm_without_parameters_of_its_own_is_frozen_in_a_phase() -> None:
    net = nn.Sequential(nn.BatchNorm2d(2, affine=False), nn.Flatten(), nn.Linear(2, 2))
    phases = plan_phases(net, [freeze_phase("1ep", ("head",))], steps_per_epoch=2, head=["2.weight"], converted=())
    enter_phase(net, phases[0])
    assert not net[0].training


def test_frozen_gradients_are_dropped() -> None:
    net = make_net()
    net(torch.ones(4, 2, 5, 5)).sum().backward()
    enter_phase(net, plan(freeze_phase("1ep", ("head",)), module=net)[0])
    assert {name for name, parameter in net.named_parameters() if parameter.grad is not None} == set(HEAD)


def test_a_shared_parameter_trains_under_either_name() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    phases = plan_phases(net, [freeze_phase("1ep", ("1.*",))], steps_per_epoch=2, head=(), converted=())
    enter_phase(net, phases[0])
    assert trained(net) == {"0.weight", "1.bias"}


def test_what_was_frozen_before_stays_out() -> None:
    net = make_net()
    net[0].requires_grad_(False)
    phases = plan(freeze_phase("1ep", ("head",)), module=net)
    enter_phase(net, phases[-1])
    assert "0.weight" not in trained(net)
    with pytest.raises(RecipeError, match=r"freeze\.0\.train\.0: .* found '0\.\*', which matches none"):
        plan(freeze_phase("1ep", ("0.*",)), module=net)


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([freeze_phase("1ep", ("heads",))], r"freeze\.0\.train\.0: .* found 'heads', .* Did you mean head\?"),
        (
            [freeze_phase("1ep", ("head", "converted"))],
            r"freeze\.0\.train\.1: .* found 'converted', which matches none\. Patterns",
        ),
        (
            [freeze_phase("1ep", ("head",)), freeze_phase("10it", ("0.*",))],
            r"freeze\.1\.until: .* found '10it' \(step 10\)",
        ),
        ([freeze_phase("0ep", ("head",))], r"freeze\.0\.until: .* at least one step, found '0ep' \(step 0\)"),
        ([freeze_phase("1 epoch", ("head",))], r"freeze\.0\.until: expected such as '1ep' .* found '1 epoch'"),
    ],
    ids=["near", "nothing converted", "out of order", "empty", "unit"],
)
def test_impossible_phases_say_why(phases: list[FreezePhase], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        plan(*phases)


def test_layers_thaw_from_the_output_to_the_input() -> None:
    net = make_net()
    phases = plan(freeze_phase("4it", ("head",)), freeze_phase("1ep", ("head",), gradual=True), module=net)
    # Two convolutions, each with its norm: three stretches between step 4 and step 10.
    assert [phase.end for phase in phases] == [4, 6, 8, 10, None]
    upper = {"3.weight", "4.weight", "4.bias"}
    everything = {name for name, _ in net.named_parameters()}
    expected = [set(HEAD), set(HEAD), {*HEAD, *upper}, everything, everything]
    assert [phase.trained for phase in phases] == expected


def test_with_few_steps_several_layers_thaw_at_once() -> None:
    net = make_net()
    phases = plan(freeze_phase("2it", ("head",), gradual=True), module=net)
    assert [phase.end for phase in phases] == [1, 2, None]
    assert [len(phase.trained) for phase in phases] == [2, 8, 8]


def test_phases_are_described_with_their_sizes() -> None:
    net = make_net()
    total = sum(parameter.numel() for parameter in net.parameters())
    assert describe_phases(net, plan(freeze_phase("1ep", ("head",)), module=net)) == [
        f"From step 0 until step 10, 15 of {total} parameters are trained.",
        f"From step 10 until the end, {total} of {total} parameters are trained.",
    ]
