from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dsft.choices import Structure
from dsft.conversion.factorization import Factors, channel_spectrum
from dsft.conversion.factorization.svd import svd_factors
from dsft.errors import ConversionError
from dsft.separable import DepthwiseSeparableConv1d, DepthwiseSeparableConv2d, DepthwiseSeparableConv3d

GENERATOR = torch.Generator()


def recompose(
    factors: Factors, kernels: list[int], weight: Tensor, groups: int, order: Structure = Structure.DW_PW
) -> Tensor:
    kind = {3: DepthwiseSeparableConv1d, 4: DepthwiseSeparableConv2d, 5: DepthwiseSeparableConv3d}[weight.dim()]
    layer = kind(
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),
        kernels=kernels,
        order=order,
        groups=groups,
        bias=False,
        dtype=weight.dtype,
    )
    layer.set_factors(factors.depthwise, factors.pointwise)
    return layer.weight.detach().as_subclass(Tensor)


@settings(max_examples=100, deadline=None)
@given(
    groups=st.integers(1, 3),
    inputs=st.integers(1, 4),
    outputs=st.integers(1, 12),
    kernel=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    order=st.sampled_from([Structure.DW_PW, Structure.PW_DW]),
    seed=st.integers(0, 2**16),
)
def test_full_rank_is_exact_and_the_error_is_that_of_numpys_svd(
    groups: int, inputs: int, outputs: int, kernel: list[int], order: Structure, seed: int
) -> None:
    weight = torch.randn(
        groups * outputs, inputs, *kernel, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    matrices = weight.numpy().reshape(groups, outputs, inputs, -1)
    if order is Structure.DW_PW:
        matrices = matrices.transpose(0, 2, 1, 3)
    values = np.linalg.svd(matrices, compute_uv=False)
    errors = []
    for rank in range(1, values.shape[-1] + 1):
        kernels = [rank] * (groups * matrices.shape[1])
        factors = svd_factors(weight, groups, kernels, GENERATOR, order)
        change = recompose(factors, kernels, weight, groups, order) - weight
        errors.append(float(change.square().sum()))
        assert errors[-1] == pytest.approx(float((values[..., rank:] ** 2).sum()), abs=1e-9)
    assert errors[-1] < 1e-12
    assert errors == sorted(errors, reverse=True)


def test_spectrum_matches_numpy_and_its_energy_is_the_kernels() -> None:
    weight = torch.randn(6, 4, 3, 3)
    spectrum = channel_spectrum(weight, 1)
    values = np.linalg.svd(weight.double().numpy().transpose(1, 0, 2, 3).reshape(4, 6, 9), compute_uv=False)
    np.testing.assert_allclose(spectrum.energies.numpy(), values**2, atol=1e-10)
    assert float(spectrum.energies.sum()) == pytest.approx(float(weight.double().square().sum()))
    gram = spectrum.directions @ spectrum.directions.transpose(1, 2)
    torch.testing.assert_close(gram, torch.eye(6, dtype=torch.float64).expand(4, 6, 6))


def test_dead_channels_and_dead_layers_are_no_problem() -> None:
    weight = torch.randn(4, 3, 3, 3)
    weight[:, 1] = 0
    for dead in (weight, torch.zeros(4, 3, 3, 3)):
        factors = svd_factors(dead, 1, [4, 4, 4], GENERATOR)
        torch.testing.assert_close(recompose(factors, [4, 4, 4], dead, 1), dead)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_an_error(value: float) -> None:
    weight = torch.randn(4, 3, 3, 3)
    weight[0, 0, 0, 0] = value
    with pytest.raises(ConversionError, match="NaN or infinite"):
        svd_factors(weight, 1, [1, 1, 1], GENERATOR)


def test_format_of_the_weight_is_kept() -> None:
    factors = svd_factors(torch.randn(4, 3, 3, 3, dtype=torch.float16), 1, [1, 2, 1], GENERATOR)
    assert factors.depthwise.dtype is factors.pointwise.dtype is torch.float16
    assert factors.depthwise.shape == (4, 1, 3, 3)
    assert factors.pointwise.shape == (4, 4, 1, 1)
