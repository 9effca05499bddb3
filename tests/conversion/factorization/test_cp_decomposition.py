from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dsft.conversion.factorization import cp_decomposition
from dsft.conversion.factorization.cp_decomposition import CPFactors, decompose, exact_width, whitenings
from dsft.conversion.factorization.weighting import Weighting
from dsft.errors import ConversionError


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draw_moment(size: int, seed: int) -> Tensor:
    root = draw(size, size, seed=seed)
    return root @ root.T / size + 0.05 * torch.eye(size, dtype=torch.float64)


def relative_error(kernel: Tensor, factors: CPFactors) -> float:
    return float((kernel - factors.compose()).norm() / kernel.norm())


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 9), st.integers(0, 3))
def test_the_exact_width_represents_any_kernel(outputs: int, channels: int, positions: int, more: int) -> None:
    kernel = draw(outputs, channels, positions)
    width = exact_width(outputs, channels, positions) + more
    factors = decompose(kernel, width)
    assert factors.expand.shape == (width, channels)
    assert factors.depthwise.shape == (width, positions)
    assert factors.project.shape == (outputs, width)
    torch.testing.assert_close(factors.compose(), kernel)


def test_a_kernel_of_few_terms_is_found_again() -> None:
    terms = CPFactors(draw(4, 10, seed=1), draw(4, 9, seed=2), draw(12, 4, seed=3))
    assert relative_error(terms.compose(), decompose(terms.compose(), 4, rounds=300)) < 1e-3


def test_a_kernel_of_rank_one_takes_its_singular_value_decomposition() -> None:
    # With one position the decomposition is that of a matrix, whose best approximation numpy knows.
    kernel = draw(8, 6, 1)
    values = np.linalg.svd(kernel[:, :, 0].numpy(), compute_uv=False)
    best = math.sqrt(float((values[3:] ** 2).sum() / (values**2).sum()))
    assert relative_error(kernel, decompose(kernel, 3, rounds=500)) == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize("width", [3, 8, 20])
def test_the_error_is_below_that_of_depthwise_then_pointwise(width: int) -> None:
    kernel = draw(12, 10, 9)
    spectra = torch.linalg.svdvals(kernel.transpose(0, 1)).flatten().sort(descending=True).values.square()
    separable = math.sqrt(float(spectra[width:].sum() / spectra.sum()))
    assert relative_error(kernel, decompose(kernel, width)) < separable


def test_more_terms_and_more_rounds_leave_less_error() -> None:
    kernel = draw(16, 16, 9)
    by_width = [relative_error(kernel, decompose(kernel, width)) for width in (2, 8, 16, 32, 64)]
    by_round = [relative_error(kernel, decompose(kernel, 16, rounds)) for rounds in (1, 3, 10, 30)]
    assert by_width == sorted(by_width, reverse=True)
    assert by_round == sorted(by_round, reverse=True)


def test_terms_stay_bounded() -> None:
    kernel = draw(16, 16, 9)
    factors = decompose(kernel, 24, rounds=100)
    # Degenerate decompositions have terms far larger than their sum.
    assert float(factors.project.square().sum()) < 25 * float(kernel.square().sum())


@pytest.mark.parametrize(
    "kernel",
    [
        torch.zeros(4, 4, 9, dtype=torch.float64),
        torch.ones(4, 4, 9, dtype=torch.float64),
        torch.cat([draw(2, 4, 9)] * 2),
        1e-30 * draw(4, 4, 9),
        1e30 * draw(4, 4, 9),
    ],
    ids=["zeros", "rank one", "duplicates", "tiny", "huge"],
)
def test_degenerate_kernels_have_finite_factors(kernel: Tensor) -> None:
    factors = decompose(kernel, 7)
    assert all(bool(each.isfinite().all()) for each in vars(factors).values())
    size = max(float(kernel.norm()), 1e-300)
    assert float((kernel - factors.compose()).norm()) / size < 0.75


def test_the_same_kernel_gives_the_same_factors_and_random_numbers_are_left_alone() -> None:
    state = torch.get_rng_state()
    first, second = decompose(draw(6, 6, 9), 8), decompose(draw(6, 6, 9), 8)
    assert all(torch.equal(mine, its) for mine, its in zip(vars(first).values(), vars(second).values(), strict=True))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_kernel_that_is_not_finite_is_refused(value: float) -> None:
    kernel = draw(4, 4, 9)
    kernel[1, 2, 3] = value
    with pytest.raises(ConversionError, match="NaN or infinite"):
        decompose(kernel, 4)


def test_the_whitened_norm_is_the_weighted_error() -> None:
    kernel = draw(5, 4, 9)
    weighting = Weighting(draw_moment(9, 1).expand(4, 9, 9), draw_moment(4, 2)[None], draw_moment(5, 3)[None])
    (whitening,) = whitenings(weighting)
    positions = weighting.patches[0] / weighting.patches[0].diagonal().mean()
    moment = torch.kron(weighting.channels[0], positions)
    flat = kernel.flatten(1)
    expected = torch.trace(weighting.gradients[0] @ flat @ moment @ flat.T)
    torch.testing.assert_close(whitening.apply(kernel).square().sum(), expected)
    factors = CPFactors(draw(3, 4, seed=4), draw(3, 9, seed=5), draw(5, 3, seed=6))
    torch.testing.assert_close(whitening.apply(whitening.undo(factors).compose()), factors.compose())


def test_groups_are_composed_one_by_one() -> None:
    factors = CPFactors(draw(4, 3, seed=1), draw(4, 9, seed=2), draw(6, 2, seed=3))
    first = CPFactors(factors.expand[:2], factors.depthwise[:2], factors.project[:3]).compose()
    second = CPFactors(factors.expand[2:], factors.depthwise[2:], factors.project[3:]).compose()
    torch.testing.assert_close(factors.compose(groups=2), torch.cat([first, second]))


def test_large_intermediate_tensors_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = draw(12, 6, 9)
    whole = decompose(kernel, 20)
    expected = torch.einsum("mr,rk,rc->mck", whole.project, whole.depthwise, whole.expand)
    monkeypatch.setattr(cp_decomposition, "MOST_VALUES", 7 * 12 * 9)
    in_parts = decompose(kernel, 20)
    torch.testing.assert_close(in_parts.project, whole.project)
    torch.testing.assert_close(in_parts.compose(), expected)
