from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dsft.separable import LOW_RANK_CLASSES, LowRankConv, LowRankConv2d
from tests.geometry import SIZES, geometries


@st.composite
def layers(draw: st.DrawFn) -> LowRankConv:
    kind = draw(st.sampled_from(list(LOW_RANK_CLASSES.values())))
    geometry = {**draw(geometries(kind)), "kernel_size": (1,) * kind.dimensions}
    kernels = (draw(st.integers(1, 4)),) * geometry["groups"]
    layer = kind(**geometry, kernels=kernels, dtype=torch.float64)
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    return layer


def images_for(layer: LowRankConv) -> Tensor:
    return torch.randn(2, layer.in_channels, *SIZES[layer.dimensions], dtype=torch.float64)


@settings(max_examples=200, deadline=None)
@given(layer=layers())
def test_equals_the_dense_convolution_of_its_composed_kernel(layer: LowRankConv) -> None:
    images = images_for(layer)
    dense: Any = layer.merge()
    assert type(dense) is layer.dense_class
    assert layer.weight.shape == dense.weight.shape
    torch.testing.assert_close(layer(images), dense(images))
    torch.testing.assert_close(layer(input=images[0]), dense(images[0]))


def test_weight_is_the_product_written_out() -> None:
    layer = LowRankConv2d(4, 6, kernels=[2, 2], groups=2, bias=False)
    first, second = layer.factors()
    expected = torch.zeros(6, 2, 1, 1)
    for output in range(6):
        for place in range(2):
            expected[output] += second[output, place] * first[2 * (output // 3) + place]
    torch.testing.assert_close(layer.weight.as_subclass(Tensor), expected)


def test_reads_like_a_convolution_and_keeps_its_format() -> None:
    dense = nn.Conv2d(4, 6, 1, stride=(2, 1), padding=(1, 0), groups=2, padding_mode="reflect", dtype=torch.bfloat16)
    layer = LowRankConv2d.like(dense.eval(), [1, 1])
    names = ["in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"]
    assert [getattr(layer, name) for name in names] == [getattr(dense, name) for name in names]
    assert layer.weight.shape == dense.weight.shape
    assert layer.weight.dtype is torch.bfloat16
    assert not layer.training
    assert layer.bias is not None
    assert not isinstance(layer, nn.Conv2d)
    twin = LowRankConv2d.like(layer, [1, 1])
    assert str(twin) == str(layer)
    assert "4, 6, stride=(2, 1), kernels=2" in str(layer)


@pytest.mark.parametrize("kernels", [[1], [1, 2], [0, 0], [1, 1, 1]])
def test_ranks_that_do_not_fit_are_refused(kernels: list[int]) -> None:
    with pytest.raises(ValueError, match=r"kernels: expected one number, at least 1, for all of 2 groups, found"):
        LowRankConv2d(4, 4, kernels=kernels, groups=2)


def test_a_kernel_of_several_positions_is_refused() -> None:
    with pytest.raises(ValueError, match=r"kernel_size: expected 1, found \(1, 3\)"):
        LowRankConv2d(4, 4, kernels=[1], kernel_size=(1, 3))


def test_writing_into_the_composed_weight_is_an_error() -> None:
    layer: Any = LowRankConv2d(3, 4, kernels=[2])
    with pytest.raises(AttributeError, match=r"is composed of those of its convolutions"):
        layer.weight = nn.Parameter(torch.ones(4, 3, 1, 1))
    with pytest.raises(RuntimeError, match="cannot be changed in place"):
        layer.weight.zero_()


def test_state_dict_holds_weights_only_and_copies_are_whole() -> None:
    layer = LowRankConv2d(3, 4, kernels=[2])
    assert list(layer.state_dict()) == ["first.weight", "second.weight", "second.bias"]
    images = torch.randn(1, 3, 8, 8)
    assert torch.equal(copy.deepcopy(layer)(images), layer(images))
    torch.testing.assert_close(torch.fx.symbolic_trace(layer)(images), layer(images))
    program = torch.export.export(layer.eval(), (images,))
    torch.testing.assert_close(program.module()(images), layer(images))
