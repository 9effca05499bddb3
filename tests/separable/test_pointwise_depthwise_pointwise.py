from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from dsft.separable import (
    PW_DW_PW_CLASSES,
    PointwiseDepthwisePointwiseConv,
    PointwiseDepthwisePointwiseConv2d,
    PointwiseDepthwisePointwiseConvTranspose2d,
)
from dsft.separable.same_padding import PointwiseDepthwisePointwiseConv2dSame
from tests.geometry import SIZES, geometries

CLASSES = [*PW_DW_PW_CLASSES.values(), PointwiseDepthwisePointwiseConv2dSame]


@st.composite
def layers(draw: st.DrawFn) -> PointwiseDepthwisePointwiseConv:
    kind = draw(st.sampled_from(CLASSES))
    geometry = draw(geometries(kind))
    kernels = (draw(st.integers(1, 5)),) * geometry["groups"]
    layer: PointwiseDepthwisePointwiseConv = kind(**geometry, kernels=kernels, dtype=torch.float64)
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    return layer


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=300, deadline=None)
@given(layer=layers())
def test_equals_the_dense_convolution_of_its_composed_kernel(layer: PointwiseDepthwisePointwiseConv) -> None:
    images = torch.randn(2, layer.in_channels, *SIZES[layer.dimensions], dtype=torch.float64)
    dense: Any = layer.merge()
    assert type(dense) is layer.dense_class
    assert layer.weight.shape == dense.weight.shape
    torch.testing.assert_close(layer(images), dense(images))
    torch.testing.assert_close(layer(input=images[0]), dense(images[0]))


def test_weight_is_the_sum_of_products_written_out() -> None:
    layer = PointwiseDepthwisePointwiseConv2d(4, 6, (3, 2), kernels=[2, 2], groups=2, bias=False)
    expand, depthwise, project = layer.factors()
    expected = torch.zeros(6, 2, 3, 2)
    for output in range(6):
        for place in range(2):
            term = 2 * (output // 3) + place
            expected[output] += project[output, place] * expand[term] * depthwise[term]
    torch.testing.assert_close(layer.weight.as_subclass(Tensor), expected)


def test_consists_of_plain_convolutions_with_the_bias_in_the_last() -> None:
    layer = PointwiseDepthwisePointwiseConv2d(4, 6, 3, stride=2, padding=1, kernels=5)
    assert [name for name, _ in layer.named_children()] == ["expand", "depthwise", "project"]
    assert list(layer.state_dict()) == ["expand.weight", "depthwise.weight", "project.weight", "project.bias"]
    assert (layer.expand.stride, layer.depthwise.stride, layer.depthwise.groups) == ((1, 1), (2, 2), 5)
    assert (layer.width, layer.kernels) == (5, (5,))
    assert "4, 6, kernel_size=(3, 3), stride=(2, 2), width=5" in str(layer)


def test_reads_like_a_convolution_and_keeps_its_format() -> None:
    dense = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dtype=torch.bfloat16)
    layer = PointwiseDepthwisePointwiseConvTranspose2d.like(dense.eval(), [3, 3])
    names = ["in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "output_padding"]
    assert [getattr(layer, name) for name in names] == [getattr(dense, name) for name in names]
    assert layer.weight.shape == dense.weight.shape
    assert (layer.weight.dtype, layer.training) == (torch.bfloat16, False)
    assert str(PointwiseDepthwisePointwiseConvTranspose2d.like(layer, [3, 3])) == str(layer)


def test_an_output_size_goes_to_the_transposed_convolution() -> None:
    layer = PointwiseDepthwisePointwiseConvTranspose2d(4, 6, 3, stride=2, padding=1, kernels=5)
    images = torch.randn(1, 4, 5, 5)
    dense: Any = layer.merge()
    torch.testing.assert_close(layer(images, output_size=[10, 10]), dense(images, output_size=[10, 10]))


@pytest.mark.parametrize("kernels", [[1], [1, 2], [0, 0], [1, 1, 1]])
def test_widths_that_do_not_fit_are_refused(kernels: list[int]) -> None:
    with pytest.raises(ValueError, match=r"kernels: expected one number, at least 1, for all of 2 groups, found"):
        PointwiseDepthwisePointwiseConv2d(4, 4, 3, kernels=kernels, groups=2)


def test_the_last_convolution_takes_what_a_batch_norm_does() -> None:
    layer = PointwiseDepthwisePointwiseConv2d(4, 6, 3, padding=1, kernels=5).eval()
    norm = nn.BatchNorm2d(6).eval()
    nn.init.normal_(norm.weight)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    images = torch.randn(2, 4, 8, 8)
    expected = norm(layer(images))
    last: Any = layer.last
    statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    last.weight, last.bias = fuse_conv_bn_weights(last.weight, last.bias, *statistics)
    torch.testing.assert_close(layer(images), expected, rtol=1e-4, atol=1e-5)


def test_traces_exports_and_copies() -> None:
    layer = PointwiseDepthwisePointwiseConv2d(3, 4, 3, padding=1, kernels=5).eval()
    images = torch.randn(1, 3, 8, 8)
    assert torch.equal(copy.deepcopy(layer)(images), layer(images))
    torch.testing.assert_close(torch.fx.symbolic_trace(layer)(images), layer(images))
    program = torch.export.export(layer, (images,))
    torch.testing.assert_close(program.module()(images), layer(images))
