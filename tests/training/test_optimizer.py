from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from dsft.errors import RecipeError
from dsft.training.optimizer import make_optimizer
from dsft.training.settings import OptimizerSettings
from tests.training.pieces import make_net, tensors_of


def test_only_kernels_and_matrices_have_weight_decay() -> None:
    net = make_net()
    optimizer = make_optimizer(net, OptimizerSettings("adamw", 1e-3, weight_decay=0.1))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    expected = {name: 0.1 if p.ndim > 1 else 0.0 for name, p in net.named_parameters()}
    assert {name: decay[id(p)] for name, p in net.named_parameters()} == expected


def test_a_step_of_momentum_is_torchs_own() -> None:
    settings = OptimizerSettings("momentum", 0.1, weight_decay=0.0, momentum=0.8)
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
        assert torch.equal(tensor, plain.state_dict()[name]), name


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
        make_optimizer(make_net(), OptimizerSettings(opt))


def test_figures_that_the_optimizer_refuses_are_the_users_error() -> None:
    with pytest.raises(RecipeError, match=r"'sgd' cannot be made .*Nesterov momentum requires"):
        make_optimizer(make_net(), OptimizerSettings("sgd", momentum=0.0))


@pytest.mark.skipif(torch.cuda.is_available(), reason="the machine has what the optimizer needs")
def test_an_optimizer_that_needs_a_gpu_says_so() -> None:
    with pytest.raises(RecipeError, match=r"'fusedadam' cannot be made .*CUDA required"):
        make_optimizer(make_net(), OptimizerSettings("fusedadam"))


def test_constructors_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_optimizer(nn.Linear(2, 2), OptimizerSettings("kron"))
