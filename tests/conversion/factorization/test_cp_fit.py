from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import check_grad  # type: ignore[import-untyped]
from torch import Tensor

from dsft.conversion.factorization.coordinate_descent import patch_moments
from dsft.conversion.factorization.cp_decomposition import CPFactors, decompose
from dsft.conversion.factorization.cp_fit import _Problem, fit_factors

OUTPUTS, CHANNELS, POSITIONS, SAMPLES = 6, 5, 4, 600


def draw(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return correlated patches, a kernel, and noisy outputs of it."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(CHANNELS * POSITIONS, CHANNELS * POSITIONS, generator=generator)
    patches = torch.randn(SAMPLES, CHANNELS * POSITIONS, generator=generator) @ mixing
    kernel = torch.randn(OUTPUTS, CHANNELS * POSITIONS, generator=generator).double()
    noise = torch.randn(SAMPLES, OUTPUTS, generator=generator)
    return patches, kernel, (patches.double() @ kernel.T).float() + noise


def start_of(kernel: Tensor, width: int) -> CPFactors:
    return decompose(kernel.reshape(OUTPUTS, CHANNELS, POSITIONS), width)


def loss(patches: Tensor, targets: Tensor, kernel: Tensor, costs: Tensor) -> float:
    left = (targets - targets.mean(0)).double() - (patches - patches.mean(0)).double() @ kernel.flatten(1).T
    return float(torch.einsum("ni,ij,nj->", left, costs, left)) / len(patches)


def test_the_exact_width_gives_the_least_squares_solution() -> None:
    patches, kernel, targets = draw()
    eye = torch.eye(OUTPUTS, dtype=torch.float64)
    width = POSITIONS * min(CHANNELS, OUTPUTS)
    found = fit_factors(patch_moments(patches, targets), kernel, start_of(kernel, width), eye, ridge=1e-12)
    x, y = (each.double().numpy() - each.double().numpy().mean(0) for each in (patches, targets))
    free, *_ = np.linalg.lstsq(x, y, rcond=None)
    expected = loss(patches, targets, torch.from_numpy(free.T), eye)
    assert loss(patches, targets, found.compose(), eye) < 1.001 * expected


def test_the_fit_leaves_less_than_the_decomposition_and_more_steps_less() -> None:
    patches, kernel, targets = draw()
    root = torch.randn(OUTPUTS, OUTPUTS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    costs, moments, start = root @ root.T, patch_moments(patches, targets), start_of(kernel, 6)
    weighed = 0.5 * costs / costs.diagonal().mean() + 0.5 * torch.eye(OUTPUTS, dtype=torch.float64)
    errors = [loss(patches, targets, start.compose(), weighed)]
    for steps in (1, 5, 20, 60):
        found = fit_factors(moments, kernel, start, costs, ridge=1e-9, steps=steps)
        errors.append(loss(patches, targets, found.compose(), weighed))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.7 * errors[0]


def test_few_samples_give_the_same_fit_as_their_moments() -> None:
    patches, kernel, targets = draw()
    few = patch_moments(patches[:8], targets[:8])
    assert few.root is not None
    torch.testing.assert_close(few.root.T.double() @ few.root.double(), few.patches, rtol=1e-5, atol=1e-4)
    costs, start = torch.eye(OUTPUTS, dtype=torch.float64), start_of(kernel, 6)
    by_samples, by_moments = (
        fit_factors(moments, kernel, start, costs, ridge=0.1, steps=5).compose()
        for moments in (few, replace(few, root=None))
    )
    assert patch_moments(patches, targets).root is None
    torch.testing.assert_close(by_samples, by_moments, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(by_samples, start.compose(), rtol=1e-3, atol=1e-3)


def test_the_gradient_is_that_of_the_value() -> None:
    patches, kernel, targets = draw()
    moments, start = patch_moments(patches, targets), start_of(kernel, 3)
    root = torch.randn(OUTPUTS, OUTPUTS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    problem = _Problem.of(moments.patches, moments.products, root @ root.T, start)
    at = problem.pack(start.expand, start.depthwise)
    at += 0.1 * np.random.default_rng(0).standard_normal(len(at))
    size = np.linalg.norm(problem.value_and_gradient(at)[1])
    wrong = check_grad(lambda x: problem.value_and_gradient(x)[0], lambda x: problem.value_and_gradient(x)[1], at)
    assert wrong < 1e-3 * size


def test_directions_without_data_keep_the_dense_kernel() -> None:
    patches, kernel, _ = draw()
    patches[:, :POSITIONS] = 0
    targets = (patches.double() @ kernel.T).float()
    width = POSITIONS * min(CHANNELS, OUTPUTS)
    moments = patch_moments(patches, targets)
    found = fit_factors(moments, kernel, start_of(kernel, width), torch.eye(OUTPUTS, dtype=torch.float64))
    torch.testing.assert_close(found.compose().flatten(1), kernel, atol=0.05, rtol=0.05)


def test_nothing_seen_keeps_the_kernel() -> None:
    _, kernel, _ = draw()
    moments = patch_moments(torch.zeros(8, CHANNELS * POSITIONS), torch.zeros(8, OUTPUTS))
    found = fit_factors(moments, kernel, start_of(kernel, 20), torch.zeros(OUTPUTS, OUTPUTS, dtype=torch.float64))
    torch.testing.assert_close(found.compose().flatten(1), kernel, atol=1e-2, rtol=1e-2)
