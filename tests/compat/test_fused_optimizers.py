from __future__ import annotations

import contextlib
import importlib

import pytest
import torch
from torch import nn

from dsft.compat import fused_optimizers
from dsft.compat.fused_optimizers import flat_fused_updates

NAMES = ("_fused_sgd_", "_fused_adam_", "_fused_adamw_")


def step(optimizer: str) -> torch.Tensor:
    torch.manual_seed(0)
    kernels = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    made = getattr(torch.optim, optimizer)(kernels.parameters(), lr=0.1, fused=True)
    kernels(torch.ones(2, 3, 5, 5)).square().sum().backward()
    with flat_fused_updates():
        made.step()
    return kernels.weight.detach()


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW"])
def test_without_the_names_a_step_is_torchs_own(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = step(optimizer)
    monkeypatch.setattr(fused_optimizers, "_NAMES", ("_no_such_name",))
    assert isinstance(flat_fused_updates(), contextlib.nullcontext)
    assert torch.equal(step(optimizer), expected)


def test_missing_names_do_not_stop_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delattr(torch, name)
    importlib.reload(fused_optimizers)
    with fused_optimizers.flat_fused_updates():
        assert torch.ones(2).sum() == 2


def test_the_names_exist_in_this_torch() -> None:
    assert all(hasattr(torch, name) for name in NAMES)
