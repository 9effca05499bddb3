from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from dsft.conversion.factorization import LowRankFactors, matrix_energies
from dsft.conversion.factorization.fresh import fresh_low_rank
from dsft.conversion.factorization.svd import svd_low_rank
from dsft.errors import ConversionError

GENERATOR = torch.Generator()


def recompose(factors: LowRankFactors, groups: int) -> Tensor:
    first, second = factors.first.flatten(1), factors.second.flatten(1)
    blocks = zip(first.chunk(groups), second.chunk(groups), strict=True)
    return torch.cat([expand @ reduce for reduce, expand in blocks])


@settings(max_examples=100, deadline=None)
@given(
    groups=st.integers(1, 3),
    inputs=st.integers(1, 8),
    outputs=st.integers(1, 8),
    dimensions=st.integers(1, 3),
    seed=st.integers(0, 2**16),
)
def test_the_error_is_that_of_numpys_svd_and_full_rank_is_exact(
    groups: int, inputs: int, outputs: int, dimensions: int, seed: int
) -> None:
    weight = torch.randn(groups * outputs, inputs, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    kernel = weight.reshape(*weight.shape, *(1,) * dimensions)
    values = np.linalg.svd(weight.numpy().reshape(groups, outputs, inputs), compute_uv=False)
    np.testing.assert_allclose(matrix_energies(kernel, groups).numpy(), values**2, atol=1e-9)
    errors = []
    for rank in range(1, min(inputs, outputs) + 1):
        factors = svd_low_rank(kernel, groups, rank, GENERATOR)
        assert factors.first.shape == (groups * rank, inputs, *(1,) * dimensions)
        assert factors.second.shape == (groups * outputs, rank, *(1,) * dimensions)
        errors.append(float((recompose(factors, groups) - weight).square().sum()))
        assert errors[-1] == pytest.approx(float((values[:, rank:] ** 2).sum()), abs=1e-9)
    assert errors[-1] < 1e-12
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(errors))


@pytest.mark.parametrize("shape", [(6, 9, 1, 1), (9, 6, 1, 1)])
def test_both_factors_have_the_same_scale(shape: tuple[int, ...]) -> None:
    factors = svd_low_rank(torch.randn(shape), 1, 4, GENERATOR)
    torch.testing.assert_close(factors.first.flatten(1).norm(dim=1), factors.second.flatten(1).norm(dim=0))


def test_dead_channels_and_dead_layers_are_no_problem() -> None:
    weight = torch.randn(4, 6, 1, 1)
    weight[:, 1] = weight[2] = 0
    for dead in (weight, torch.zeros(4, 6, 1, 1)):
        torch.testing.assert_close(recompose(svd_low_rank(dead, 1, 4, GENERATOR), 1), dead.flatten(1))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_an_error(value: float) -> None:
    weight = torch.randn(4, 3, 1, 1)
    weight[0, 0] = value
    for derive in (lambda: svd_low_rank(weight, 1, 1, GENERATOR), lambda: matrix_energies(weight, 1)):
        with pytest.raises(ConversionError, match="NaN or infinite"):
            derive()


def test_format_of_the_weight_is_kept() -> None:
    factors = svd_low_rank(torch.randn(4, 3, 1, 1, dtype=torch.float16), 1, 2, GENERATOR)
    assert factors.first.dtype is factors.second.dtype is torch.float16


def test_fresh_weights_keep_the_variance_that_a_relu_needs_and_differ_by_seed() -> None:
    weight = torch.empty(256, 128, 1, 1)
    drawn = [fresh_low_rank(weight, 2, 32, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    hidden = functional.conv2d(torch.randn(4, 256, 16, 16), drawn[0].first, groups=2)
    outputs = functional.conv2d(hidden, drawn[0].second, groups=2)
    # He et al. 2015: the second moment before the ReLU is twice that of the input.
    assert float(outputs.square().mean()) == pytest.approx(2.0, rel=0.1)
    assert torch.equal(drawn[0].first, drawn[1].first)
    assert not torch.equal(drawn[0].second, drawn[2].second)
