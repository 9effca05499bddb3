from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dsft.choices import Method, Structure
from dsft.conversion import Request, apply_plan, plan_conversion
from dsft.conversion.discovery.sites import find_sites
from dsft.conversion.structures import STRUCTURES, CandidateOptions
from dsft.conversion.structures.pw_dw_pw import aligned_step
from dsft.errors import ConversionError
from dsft.measure import count_macs, count_parameters
from dsft.separable import PW_DW_PW_CLASSES
from tests.geometry import SIZES, geometries

ONLY = [Structure.PW_DW_PW]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_errors_never_rise_and_full_rank_is_the_dense_convolution(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(PW_DW_PW_CLASSES.values())))
    geometry = data.draw(
        geometries(kind).filter(lambda g: g["in_channels"] > g["groups"] and set(g["kernel_size"]) != {1})
    )
    dense: Any = kind.dense_class(**geometry, dtype=torch.float64)
    images = torch.randn(2, dense.in_channels, *SIZES[kind.dimensions], dtype=torch.float64)
    errors = []
    for rank in (1, "full"):
        plan = plan_conversion(dense, images, Request(rank=rank, method=Method.SVD, structures=ONLY))
        layer: Any = apply_plan(dense, plan)
        assert type(layer) is kind
        assert plan.macs_after == count_macs(layer, images)
        assert plan.params_after == count_parameters(layer)
        errors.append(float((layer.weight - dense.weight).detach().norm() / dense.weight.detach().norm()))
        # The plan's error is that of half as many rounds, in float32.
        assert errors[-1] <= (plan.converted[0].relative_error or 0) + 1e-3
    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(errors))
    torch.testing.assert_close(layer(images), dense(images))
    torch.testing.assert_close(layer.merge().weight, dense.weight)


@pytest.mark.parametrize(
    ("channels", "groups", "step"), [((3, 64), 1, 16), ((16, 32), 1, 8), ((64, 64), 4, 4), ((64, 64), 32, 1)]
)
def test_widths_are_multiples_of_what_runtimes_compute_at_once(
    channels: tuple[int, int], groups: int, step: int
) -> None:
    conv = nn.Conv2d(*channels, 3, padding=1, groups=groups)
    (site,) = find_sites(conv, torch.randn(1, channels[0], 8, 8), ONLY)
    assert aligned_step(site) == step
    candidate = STRUCTURES[Structure.PW_DW_PW].make_candidate(site, CandidateOptions())
    assert all(sum(candidate.kernels_at(int(steps))) % (step * groups) == 0 for steps in candidate.steps)


def test_the_curve_is_that_of_decompositions_at_its_widths() -> None:
    conv = nn.Conv2d(32, 64, 3, padding=1)
    (site,) = find_sites(conv, torch.randn(1, 32, 8, 8), ONLY)
    candidate = STRUCTURES[Structure.PW_DW_PW].make_candidate(site, CandidateOptions())
    errors = candidate.errors
    assert len(errors) == len(candidate.steps)
    assert np.all(np.diff(errors) < 0)
    for steps in (2, int(candidate.steps[-1])):
        plan = plan_conversion(conv, torch.randn(1, 32, 8, 8), Request(rank=1, method=Method.SVD, structures=ONLY))
        assert plan.converted[0].kernels == (64,)
        assert candidate.relative_error(candidate.kernels_at(steps)) == pytest.approx(errors[steps - 1] ** 0.5)


def test_a_budget_is_met_to_the_step_by_one_layer() -> None:
    conv, images = nn.Conv2d(64, 64, 3, padding=1), torch.randn(1, 64, 16, 16)
    plan = plan_conversion(conv, images, Request(budget={"macs": 0.5}, structures=ONLY))
    (layer,) = plan.converted
    assert layer.size == "width 128"
    # A kernel costs 64 + 9 + 64 at each position, and the budget is half of 9 * 64 * 64.
    assert layer.kernels[0] * 137 <= 0.5 * 9 * 64 * 64 < (layer.kernels[0] + 16) * 137


def test_a_kernel_that_is_not_finite_is_refused_with_the_name_of_its_layer() -> None:
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1))
    nn.init.constant_(model[0].weight, float("nan"))  # type: ignore[arg-type]
    with pytest.raises(ConversionError, match=r"layer '0': the weight holds NaN"):
        plan_conversion(model, torch.randn(1, 8, 8, 8), Request(rank=1, structures=ONLY))


@pytest.mark.parametrize("make", [torch.zeros, torch.ones])
def test_degenerate_kernels_have_finite_factors(make: Any) -> None:
    conv, images = nn.Conv2d(8, 8, 3, padding=1, bias=False), torch.randn(1, 8, 8, 8)
    conv.weight.data = make(8, 8, 3, 3)
    layer: Any = apply_plan(conv, plan_conversion(conv, images, Request(rank=1, structures=ONLY)))
    torch.testing.assert_close(layer(images), conv(images), rtol=1e-3, atol=1e-3)
