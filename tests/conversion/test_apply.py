from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dsft.choices import Method, Structure
from dsft.conversion import ConversionPlan, Request, apply_plan, plan_conversion
from dsft.errors import ConversionError
from dsft.measure import count_macs, count_parameters
from dsft.separable import LOW_RANK_CLASSES, SEPARABLE_CLASSES
from tests.geometry import SIZES, geometries


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_the_error_never_rises_with_the_rank_and_full_rank_is_the_dense_convolution(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(SEPARABLE_CLASSES.values())))
    geometry = data.draw(
        geometries(kind).filter(lambda g: max(g["kernel_size"]) > 1 and g["in_channels"] > g["groups"])
    )
    order = data.draw(st.sampled_from([Structure.DW_PW, Structure.PW_DW]))
    dense: Any = kind.dense_class(**geometry, dtype=torch.float64)
    images = torch.randn(2, dense.in_channels, *SIZES[kind.dimensions], dtype=torch.float64)
    errors = []
    for rank in (1, 2, 3, 5, "full"):
        plan = plan_conversion(dense, images, Request(rank=rank, method=Method.SVD, structures=[order]))
        layer: Any = apply_plan(dense, plan)
        assert type(layer) is kind
        error = float((layer.weight - dense.weight).detach().norm() / dense.weight.detach().norm())
        assert error == pytest.approx(plan.converted[0].relative_error, abs=1e-6)
        errors.append(error)
    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(errors))
    torch.testing.assert_close(layer(images), dense(images))
    torch.testing.assert_close(layer.merge().weight, dense.weight)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_low_rank_too_has_errors_that_never_rise_and_is_dense_at_full_rank(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(LOW_RANK_CLASSES.values())))
    geometry = data.draw(geometries(kind).filter(lambda g: g["in_channels"] > g["groups"]))
    dense: Any = kind.dense_class(**{**geometry, "kernel_size": (1,) * kind.dimensions}, dtype=torch.float64)
    images = torch.randn(2, dense.in_channels, *SIZES[kind.dimensions], dtype=torch.float64)
    errors = []
    for rank in (1, 2, "full"):
        plan = plan_conversion(dense, images, Request(rank=rank, structures=[Structure.LOW_RANK]))
        layer: Any = apply_plan(dense, plan)
        assert type(layer) is kind
        assert plan.macs_after == count_macs(layer, images)
        assert plan.params_after == count_parameters(layer)
        error = float((layer.weight - dense.weight).detach().norm() / dense.weight.detach().norm())
        assert error == pytest.approx(plan.converted[0].relative_error, abs=1e-6)
        errors.append(error)
    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(errors))
    torch.testing.assert_close(layer(images), dense(images))
    torch.testing.assert_close(layer.merge().weight, dense.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernels": [1, 10, 1]}, "kernels: numbers from 0 to 9 are needed, found 10"),
        ({"kernels": [1, -1, 1]}, "kernels: numbers from 0 to 9 are needed, found -1"),
        ({"kernels": [1, None, 1]}, "kernels: numbers from 0 to 9 are needed, found None"),
        ({"aliases": [None]}, "aliases: names are needed"),
        ({"structure": "pwdw"}, "'pwdw' is not a valid Structure"),
        ({"structure": None}, "structure: goes with converted layers alone, found None"),
    ],
)
def test_numbers_that_no_plan_has_are_refused(change: dict[str, Any], message: str) -> None:
    values = plan_conversion(nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8), Request(rank=1)).to_dict()
    values["layers"][0].update(change)
    with pytest.raises((TypeError, ValueError), match=message):
        ConversionPlan.from_dict(values)


def test_a_form_that_a_layer_cannot_take_is_an_error() -> None:
    values = plan_conversion(nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8), Request(rank=2)).to_dict()
    values["layers"][0].update({"kernels": [2, 1, 2], "form": "multiplier"})
    with pytest.raises(
        ConversionError, match=r"layer '': form: expected one of .* found 'multiplier'.* another network"
    ):
        apply_plan(nn.Conv2d(3, 4, 3), ConversionPlan.from_dict(values))
