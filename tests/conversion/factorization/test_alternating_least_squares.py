from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from dsft.conversion.factorization import alternating_least_squares
from dsft.conversion.factorization.alternating_least_squares import fit_both_factors
from dsft.conversion.factorization.coordinate_descent import patch_moments

CHANNELS, POSITIONS = 5, 4

Factors = tuple[Tensor, Tensor]


def draw(outputs: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Return taps that hang together, a kernel, and outputs of it with an error before it made up for."""
    generator = torch.Generator().manual_seed(0)
    size = CHANNELS * POSITIONS
    taps = torch.randn(800, size, generator=generator) @ torch.randn(size, size, generator=generator)
    kernel = torch.randn(outputs, size, generator=generator).double()
    return taps, kernel, (taps.double() @ kernel.T + torch.randn(800, outputs, generator=generator)).float()


def start(kernel: Tensor, rank: int) -> list[Factors]:
    """Return the factors of each output's kernel cut to a rank."""
    slices = kernel.reshape(-1, CHANNELS, POSITIONS)
    return [
        ((u * s)[:, :rank].T, v[:rank]) for u, s, v in (torch.linalg.svd(each, full_matrices=False) for each in slices)
    ]


def composed(factors: list[Factors]) -> Tensor:
    return torch.stack([(points.T @ kernels).flatten() for points, kernels in factors])


def errors(taps: Tensor, targets: Tensor, kernel: Tensor) -> Tensor:
    left = (targets - targets.mean(0)).double() - (taps - taps.mean(0)).double() @ kernel.T
    return left.square().mean(0)


def test_neither_factor_can_be_bettered_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alternating_least_squares, "SWEEPS", 300)
    taps, kernel, targets = draw(outputs=1)
    [(points, kernels)] = fit_both_factors(patch_moments(taps, targets), kernel, start(kernel, 2), ridge=1e-12)
    x = (taps - taps.mean(0)).double().numpy().reshape(-1, CHANNELS, POSITIONS)
    y = (targets - targets.mean(0)).double().numpy()[:, 0]
    for columns, found in ((x @ kernels.numpy().T, points.T), (np.einsum("ncp,rc->npr", x, points), kernels.T)):
        best, *_ = np.linalg.lstsq(columns.reshape(len(x), -1), y, rcond=None)
        np.testing.assert_allclose(best, found.reshape(-1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rank", [1, 2])
def test_further_sweeps_lower_the_error_of_every_output(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    taps, kernel, targets = draw()
    moments = patch_moments(taps, targets)
    found = [errors(taps, targets, composed(start(kernel, rank)))]
    for sweeps in (1, 2, 4, 8):
        monkeypatch.setattr(alternating_least_squares, "SWEEPS", sweeps)
        factors = fit_both_factors(moments, kernel, start(kernel, rank), ridge=1e-9)
        assert [(len(points), len(kernels)) for points, kernels in factors] == [(rank, rank)] * 3
        found.append(errors(taps, targets, composed(factors)))
    for before, after in pairwise(found):
        assert bool((after <= before * (1 + 1e-6)).all())
    assert float(found[-1].sum()) < 0.8 * float(found[0].sum())


def test_full_rank_is_the_regression_itself() -> None:
    taps, kernel, targets = draw()
    factors = fit_both_factors(patch_moments(taps, targets), kernel, start(kernel, POSITIONS), ridge=1e-12)
    x, y = (each.double().numpy() - each.double().numpy().mean(0) for each in (taps, targets))
    expected, *_ = np.linalg.lstsq(x, y, rcond=None)
    np.testing.assert_allclose(composed(factors).numpy(), expected.T, atol=1e-4)


def test_what_was_never_seen_keeps_the_dense_kernel() -> None:
    taps, kernel, targets = draw()
    factors = fit_both_factors(patch_moments(torch.zeros_like(taps), targets), kernel, start(kernel, POSITIONS))
    torch.testing.assert_close(composed(factors), kernel)


def test_kernels_that_are_alike_or_zero_are_no_obstacle() -> None:
    taps, kernel, targets = draw(outputs=2)
    targets[:, 1] = kernel[1] = 0
    points, kernels = torch.ones(2, CHANNELS), torch.ones(2, POSITIONS)
    factors = fit_both_factors(patch_moments(taps, targets), kernel, [(points, kernels), (0 * points, 0 * kernels)])
    assert bool(composed(factors).isfinite().all())


def test_the_weights_of_a_large_output_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alternating_least_squares, "MAX_WEIGHTS", 2 * CHANNELS)
    taps, kernel, targets = draw()
    given = start(kernel, 2)
    for (points, kernels), (before, own) in zip(
        fit_both_factors(patch_moments(taps, targets), kernel, given), given, strict=True
    ):
        assert torch.equal(points, before)
        assert torch.equal(kernels, own)
