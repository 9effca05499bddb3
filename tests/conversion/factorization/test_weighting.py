from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dsft.choices import Structure
from dsft.conversion.factorization import Weighting, channel_spectrum
from dsft.conversion.factorization.svd import svd_factors
from dsft.separable import kernel_channels

GROUPS, INPUTS, OUTPUTS = 2, 3, 4


def moment(count: int, size: int, seed: int) -> Tensor:
    root = torch.randn(count, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.transpose(1, 2) + 0.1 * torch.eye(size, dtype=torch.float64)


def weighting() -> Weighting:
    return Weighting(moment(GROUPS * INPUTS, 9, 0), moment(GROUPS, INPUTS, 1), moment(GROUPS, OUTPUTS, 2))


def weight() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(GROUPS * OUTPUTS, INPUTS, 3, 3, generator=generator, dtype=torch.float64)


def rise(change: Tensor, costs: Weighting) -> float:
    """Return what the loss rises by where the channels see independent things, written as a plain sum."""
    total = 0.0
    for group in range(GROUPS):
        for channel in range(INPUTS):
            part = change[group * OUTPUTS : (group + 1) * OUTPUTS, channel].flatten(1)
            moments = costs.patches[group * INPUTS + channel]
            total += float(torch.trace(costs.gradients[group] @ part @ moments @ part.T))
    return total


def recomposed(kernels: list[int]) -> Tensor:
    factors = svd_factors(weight(), GROUPS, kernels, torch.Generator(), Structure.DW_PW, weighting())
    change = torch.zeros_like(weight())
    per_group = len(factors.depthwise) // GROUPS
    for place, channel in enumerate(kernel_channels(kernels, len(kernels), GROUPS)):
        group = channel // INPUTS
        rows = slice(group * OUTPUTS, (group + 1) * OUTPUTS)
        points = factors.pointwise[rows, place - group * per_group].reshape(-1, 1, 1)
        change[rows, channel % INPUTS] += points * factors.depthwise[place]
    return change


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_what_is_dropped_is_what_the_loss_rises_by(rank: int) -> None:
    energies = channel_spectrum(weight(), GROUPS, Structure.DW_PW, weighting()).energies
    left = recomposed([rank] * GROUPS * INPUTS) - weight()
    assert rise(left, weighting()) == pytest.approx(float(energies[:, rank:].sum()), rel=1e-3)


def test_the_weighted_decomposition_beats_the_plain_one_where_it_counts() -> None:
    plain = channel_spectrum(weight(), GROUPS, Structure.DW_PW)
    slices = weight().flatten(2).reshape(GROUPS, OUTPUTS, INPUTS, 9).transpose(1, 2).flatten(0, 1)
    kept = slices @ plain.directions[:, :1].transpose(1, 2) @ plain.directions[:, :1]
    change = kept.reshape(GROUPS, INPUTS, OUTPUTS, 9).transpose(1, 2).reshape(weight().shape) - weight()
    assert rise(recomposed([1] * GROUPS * INPUTS) - weight(), weighting()) < 0.9 * rise(change, weighting())


@pytest.mark.parametrize("order", [Structure.DW_PW, Structure.PW_DW])
def test_full_rank_is_exact_and_dead_channels_stay_finite(order: Structure) -> None:
    costs = weighting()
    costs.patches[1] = 0
    spectrum = channel_spectrum(weight(), GROUPS, order, costs)
    assert all(bool(part.isfinite().all()) for part in (spectrum.energies, spectrum.directions, spectrum.duals))
    flat = weight().flatten(2)
    slices = flat
    if order is Structure.DW_PW:
        slices = flat.reshape(GROUPS, OUTPUTS, INPUTS, 9).transpose(1, 2).flatten(0, 1)
    back = slices @ spectrum.duals.transpose(1, 2) @ spectrum.directions
    torch.testing.assert_close(back, slices, atol=1e-6, rtol=1e-6)


def test_energies_of_pw_dw_grow_with_what_an_output_costs() -> None:
    costs = weighting()
    dearer = Weighting(costs.patches, costs.channels, costs.gradients.clone())
    dearer.gradients[0, 0, 0] *= 100
    before = channel_spectrum(weight(), GROUPS, Structure.PW_DW, costs).energies
    after = channel_spectrum(weight(), GROUPS, Structure.PW_DW, dearer).energies
    assert float(after[0].sum()) == pytest.approx(100 * float(before[0].sum()), rel=1e-3)
    torch.testing.assert_close(after[1:], before[1:], rtol=1e-3, atol=1e-6)
