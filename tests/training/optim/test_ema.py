from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.utils.model_ema import ModelEmaV3
from torch import nn

from dsft.training.optim.ema import MovingAverage, decay_at
from tests.training.pieces import ema_settings, make_net
from tests.zoo import redraw


@pytest.mark.parametrize("warmup", [False, True])
def test_the_average_is_timms(warmup: bool) -> None:
    net = make_net()
    average = MovingAverage(net, ema_settings(0.6, warmup))
    timms = ModelEmaV3(net, decay=0.6, use_warmup=warmup)
    for step in range(6):
        redraw(net, seed=step)
        average.update(net, step)
        timms.update(net, step=step + 1)
    expected = timms.module.state_dict()
    for name, tensor in average.module.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], msg=name)


def test_the_average_follows_its_formula() -> None:
    net = nn.Linear(3, 2, bias=False)
    average = MovingAverage(net, ema_settings(0.9, warmup=False))
    expected = np.zeros((2, 3))
    for step in range(5):
        redraw(net, seed=step)
        average.update(net, step)
        current = net.weight.detach().numpy().astype(np.float64)
        expected = current if step == 0 else 0.9 * expected + 0.1 * current
    (averaged,) = average.module.parameters()
    np.testing.assert_allclose(averaged.numpy(), expected, rtol=1e-5)


def test_warm_up_ends_at_the_decay() -> None:
    settings = ema_settings(0.99, warmup=True)
    assert [decay_at(step, settings) for step in (0, 7, 10**6)] == pytest.approx([0, 0.75, 0.99])


def test_a_module_under_two_names_is_averaged_once() -> None:
    shared = nn.Linear(2, 2, bias=False)
    net = nn.Sequential(shared, shared)
    average = MovingAverage(net, ema_settings(0.9, warmup=False))
    before = shared.weight.detach().clone()
    nn.init.zeros_(shared.weight)
    average.update(net, step=1)
    (averaged,) = average.module.parameters()
    torch.testing.assert_close(averaged.detach(), 0.9 * before)


def test_the_copy_evaluates_and_takes_no_gradient() -> None:
    net = make_net().train()
    average = MovingAverage(net, ema_settings())
    assert not any(part.training for part in average.module.modules())
    assert not any(parameter.requires_grad for parameter in average.module.parameters())
    assert net.training
