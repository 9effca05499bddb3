from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from dsft.conversion.factorization import coordinate_descent
from dsft.conversion.factorization.coordinate_descent import fit_depthwise_kernels, patch_moments

OUTPUTS, CHANNELS, POSITIONS = 5, 3, 4


def draw(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return taps that hang together, a kernel, and outputs of it with an error before it made up for."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(CHANNELS * POSITIONS, CHANNELS * POSITIONS, generator=generator)
    taps = torch.randn(500, CHANNELS * POSITIONS, generator=generator) @ mixing
    kernel = torch.randn(OUTPUTS, CHANNELS * POSITIONS, generator=generator).double()
    return taps, kernel, (taps.double() @ kernel.T + torch.randn(500, OUTPUTS, generator=generator)).float()


def composed(factors: list[tuple[Tensor, Tensor]]) -> Tensor:
    return torch.cat([points @ kernels for kernels, points in factors], dim=1)


def loss(taps: Tensor, targets: Tensor, kernel: Tensor, costs: Tensor) -> float:
    left = (targets - targets.mean(0)).double() - (taps - taps.mean(0)).double() @ kernel.T
    return float(torch.einsum("ni,ij,nj->", left, costs, left)) / len(taps)


def test_one_channel_is_the_reduced_rank_regression() -> None:
    taps, kernel, targets = (part[..., :POSITIONS] for part in draw())
    targets = taps.float() @ kernel.float().T + torch.randn(500, OUTPUTS, generator=torch.Generator().manual_seed(1))
    costs = torch.eye(OUTPUTS, dtype=torch.float64)
    moments = patch_moments(taps, targets)
    factors = fit_depthwise_kernels(moments, kernel, torch.zeros_like(kernel), [2], costs, ridge=1e-12)
    x, y = (each.double().numpy() - each.double().numpy().mean(0) for each in (taps, targets))
    free, *_ = np.linalg.lstsq(x, y, rcond=None)
    _, _, directions = np.linalg.svd(x @ free, full_matrices=False)
    expected = free @ directions[:2].T @ directions[:2]
    np.testing.assert_allclose(composed(factors).numpy(), expected.T, atol=1e-4)


def test_further_sweeps_lower_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    taps, kernel, targets = draw()
    root = torch.randn(OUTPUTS, OUTPUTS, dtype=torch.float64)
    costs, moments = root @ root.T + torch.eye(OUTPUTS, dtype=torch.float64), patch_moments(taps, targets)
    errors = []
    for sweeps in (1, 2, 3, 6):
        monkeypatch.setattr(coordinate_descent, "SWEEPS", sweeps)
        factors = fit_depthwise_kernels(moments, kernel, torch.zeros_like(kernel), [1, 2, 1], costs, ridge=1e-9)
        errors.append(loss(taps, targets, composed(factors), costs))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.95 * errors[0]


def test_full_rank_is_the_regression_itself() -> None:
    taps, kernel, _ = draw()
    targets = taps @ kernel.float().T
    costs = torch.eye(OUTPUTS, dtype=torch.float64)
    factors = fit_depthwise_kernels(patch_moments(taps, targets), kernel, kernel, [POSITIONS] * CHANNELS, costs)
    torch.testing.assert_close(composed(factors), kernel, atol=1e-4, rtol=1e-4)


def test_channels_without_kernels_and_channels_that_are_dead() -> None:
    taps, kernel, targets = draw()
    taps[:, POSITIONS : 2 * POSITIONS] = 0
    costs = torch.eye(OUTPUTS, dtype=torch.float64)
    factors = fit_depthwise_kernels(patch_moments(taps, targets), kernel, kernel, [0, 1, 2], costs)
    assert [tuple(kernels.shape) for kernels, _ in factors] == [(0, POSITIONS), (1, POSITIONS), (2, POSITIONS)]
    assert all(bool(part.isfinite().all()) for pair in factors for part in pair)
    torch.testing.assert_close(factors[2][0].norm(dim=1), torch.ones(2, dtype=torch.float64))
    # What was never seen keeps the best approximation of the dense kernel.
    values = np.linalg.svd(kernel[:, POSITIONS : 2 * POSITIONS].numpy(), compute_uv=False)
    kernels, points = factors[1]
    left = kernel[:, POSITIONS : 2 * POSITIONS] - points @ kernels
    assert float(left.square().sum()) == pytest.approx(float((values[1:] ** 2).sum()), rel=1e-6)
