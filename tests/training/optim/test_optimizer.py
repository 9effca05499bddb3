from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from dsft.errors import RecipeError
from dsft.training.optim.optimizer import fused_update_context, make_optimizer, restore_optimizer
from tests.training.pieces import make_net, optimizer_settings, tensors_of


def test_only_kernels_and_matrices_have_weight_decay() -> None:
    net = make_net()
    optimizer = make_optimizer(net, optimizer_settings("adamw", 1e-3, weight_decay=0.1))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    expected = {name: 0.1 if p.ndim > 1 else 0.0 for name, p in net.named_parameters()}
    assert {name: decay[id(p)] for name, p in net.named_parameters()} == expected


def test_a_step_of_momentum_is_torchs_own() -> None:
    settings = optimizer_settings("momentum", 0.1, weight_decay=0.0, momentum=0.8)
    ours, plain = make_net(), make_net()
    steps = [
        (ours, make_optimizer(ours, settings)),
        (plain, torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.8)),
    ]
    for net, optimizer in steps:
        for _ in range(3):
            optimizer.zero_grad()
            net(torch.ones(4, 2, 5, 5)).square().sum().backward()
            optimizer.step()
    for name, tensor in tensors_of(ours).items():
        torch.testing.assert_close(tensor, plain.state_dict()[name])


PLAIN: dict[str, Callable[[nn.Module], Optimizer]] = {
    "sgd": lambda net: torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, foreach=False),
    "adam": lambda net: torch.optim.Adam(net.parameters(), lr=0.1, foreach=False),
    "adamw": lambda net: torch.optim.AdamW(net.parameters(), lr=0.1, weight_decay=0.0, foreach=False),
}


@pytest.mark.parametrize("opt", PLAIN)
@pytest.mark.parametrize("kept_as", [None, torch.contiguous_format, torch.channels_last])
def test_one_pass_over_memory_does_what_several_do(opt: str, kept_as: torch.memory_format | None) -> None:
    nets = [make_net().to(memory_format=torch.channels_last) for _ in range(2)]
    ours, plain = make_optimizer(nets[0], optimizer_settings(opt, 0.1, weight_decay=0.0)), PLAIN[opt](nets[1])
    assert ours.param_groups[0]["fused"]
    for step in range(4):
        images = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(step))
        for net, optimizer in zip(nets, (ours, plain), strict=True):
            optimizer.zero_grad()
            net(images).square().sum().backward()
            with fused_update_context(optimizer):
                optimizer.step()
        if kept_as is not None:
            ours = make_optimizer(nets[0], optimizer_settings(opt, 0.1, weight_decay=0.0))
            restore_optimizer(ours, in_layout(copy.deepcopy(plain.state_dict()), kept_as))
            assert ours.param_groups[0]["fused"]
    for mine, theirs in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opt", PLAIN)
def test_a_gradient_that_lies_otherwise_than_its_kernel_is_the_same_gradient(opt: str) -> None:
    nets = [make_net().to(memory_format=torch.channels_last) for _ in range(2)]
    optimizers = make_optimizer(nets[0], optimizer_settings(opt, 0.1, weight_decay=0.0)), PLAIN[opt](nets[1])
    images = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    for net, optimizer in zip(nets, optimizers, strict=True):
        net(images).square().sum().backward()
        kernel = net.get_parameter("0.weight")
        assert kernel.grad is not None
        assert not kernel.grad.is_contiguous()
        kernel.grad = kernel.grad.contiguous()
        with fused_update_context(optimizer):
            optimizer.step()
    for mine, theirs in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_an_update_copies_no_gradient() -> None:
    net = make_net().to(memory_format=torch.channels_last)
    optimizer = make_optimizer(net, optimizer_settings("sgd", 0.1, weight_decay=0.0))
    net(torch.ones(4, 2, 5, 5)).square().sum().backward()
    with (
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen,
        fused_update_context(optimizer),
    ):
        optimizer.step()
    names = [event.name for event in seen.events() or ()]
    assert "aten::_fused_sgd_" in names
    assert "aten::copy_" not in names


def in_layout(state: dict[str, Any], layout: torch.memory_format) -> dict[str, Any]:
    def placed(value: Any) -> Any:
        is_kernel = isinstance(value, torch.Tensor) and value.dim() == 4
        return value.contiguous(memory_format=layout) if is_kernel else value

    tensors = {number: {name: placed(value) for name, value in kept.items()} for number, kept in state["state"].items()}
    return {**state, "state": tensors}


@pytest.mark.parametrize("opt", PLAIN)
def test_a_parameter_may_have_its_first_gradient_later(opt: str) -> None:
    nets = [make_net(), make_net()]
    optimizers = make_optimizer(nets[0], optimizer_settings(opt, 0.1, weight_decay=0.0)), PLAIN[opt](nets[1])
    for step in range(3):
        for net, optimizer in zip(nets, optimizers, strict=True):
            net[0].requires_grad_(step > 0)
            optimizer.zero_grad()
            net(torch.ones(4, 2, 5, 5)).square().sum().backward()
            optimizer.step()
    for mine, theirs in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_a_run_of_several_processes_resumes_in_one() -> None:
    net = make_net()
    settings = optimizer_settings("sgd", 0.1, weight_decay=0.0)
    before = PLAIN["sgd"](net)
    net[7](torch.ones(4, 4)).sum().backward()
    before.step()
    after = make_optimizer(net, settings)
    restore_optimizer(after, copy.deepcopy(before.state_dict()))
    assert all(group["fused"] for group in after.param_groups)
    assert all("momentum_buffer" in after.state[parameter] for parameter in net.parameters())
    weight = net.get_parameter("7.weight")
    assert torch.equal(after.state[weight]["momentum_buffer"], before.state[weight]["momentum_buffer"])


def test_what_has_gaps_in_memory_takes_several_passes() -> None:
    net = nn.Linear(3, 3)
    net.weight = nn.Parameter(torch.zeros(3, 6)[:, ::2])
    optimizer = make_optimizer(net, optimizer_settings("adamw", 0.1, weight_decay=0.0))
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    torch.testing.assert_close(net.weight, torch.full((3, 3), -0.1))


@pytest.mark.parametrize(
    ("opt", "message"),
    [
        ("adamv", r"optim\.opt: unknown optimizer, found 'adamv'\. Did you mean adam"),
        ("adahessian", r"unknown optimizer, found 'adahessian'"),
        ("lookahead_sgdx", r"unknown optimizer, found 'lookahead_sgdx'"),
    ],
)
def test_an_unknown_optimizer_is_named_with_the_nearest(opt: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        make_optimizer(make_net(), optimizer_settings(opt))


def test_figures_that_the_optimizer_refuses_are_the_users_error() -> None:
    with pytest.raises(RecipeError, match=r"'sgd' cannot be created .*Nesterov momentum requires"):
        make_optimizer(make_net(), optimizer_settings("sgd", momentum=0.0))


@pytest.mark.skipif(torch.cuda.is_available(), reason="the machine has what the optimizer needs")
def test_an_optimizer_that_needs_a_gpu_says_so() -> None:
    with pytest.raises(RecipeError, match=r"'fusedadam' cannot be created .*CUDA required"):
        make_optimizer(make_net(), optimizer_settings("fusedadam"))


def test_constructors_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_optimizer(nn.Linear(2, 2), optimizer_settings("kron"))
