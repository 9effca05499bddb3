from __future__ import annotations

import os

import pytest
import torch

from dsft.training.determinism import reproducible

CPU = torch.device("cpu")


def test_draws_are_seeded_inside_and_untouched_outside() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    with reproducible(1, CPU, deterministic=False):
        inside = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(inside, torch.rand(2, generator=torch.Generator().manual_seed(1)))


def test_the_deterministic_mode_lasts_as_long_as_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with reproducible(1, CPU, deterministic=True):
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_an_exception_ends_the_deterministic_mode() -> None:
    with pytest.raises(KeyError), reproducible(1, CPU, deterministic=True):
        raise KeyError
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_users_own_mode_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with reproducible(1, CPU, deterministic=False):
            assert torch.is_deterministic_algorithms_warn_only_enabled()
        with reproducible(1, CPU, deterministic=True):
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    finally:
        torch.use_deterministic_algorithms(False)
