from __future__ import annotations

import copy
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.fusion import fuse_conv_bn_weights

from dsft.separable import (
    PW_DW_PW_CLASSES,
    PointwiseDepthwisePointwiseConv,
    PointwiseDepthwisePointwiseConv2d,
    PointwiseDepthwisePointwiseConvTranspose2d,
    pointwise,
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


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=200, deadline=None)
@given(layer=layers().filter(lambda layer: layer.dimensions == 2))
def test_in_inference_too_in_any_layout(layer: PointwiseDepthwisePointwiseConv) -> None:
    images, dense = torch.randn(2, layer.in_channels, *SIZES[2], dtype=torch.float64), layer.merge()
    with torch.inference_mode(), patch.object(pointwise, "IS_INTEL", True):
        expected, layer = dense(images), layer.float()
        for layout in (torch.contiguous_format, torch.channels_last):
            found = layer(images.float().contiguous(memory_format=layout))
            torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


class TestContiguousInference:
    """The depthwise convolution runs in channels_last, between products that change the layout."""

    @pytest.fixture(autouse=True)
    def seen(self, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
        """Whether the input of each depthwise convolution was contiguous."""
        monkeypatch.setattr(pointwise, "IS_INTEL", True)
        self.layer = PointwiseDepthwisePointwiseConv2d(4, 6, 3, stride=2, padding=1, kernels=5).requires_grad_(False)
        self.images = torch.randn(2, 4, 9, 7)
        seen: list[bool] = []
        self.layer.depthwise.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].is_contiguous()))
        return seen

    def test_the_output_has_the_layout_of_the_input(self, seen: list[bool]) -> None:
        assert self.layer(self.images).is_contiguous()
        assert self.layer(self.images.contiguous(memory_format=torch.channels_last)).is_contiguous(
            memory_format=torch.channels_last
        )
        assert seen == [False, False]

    def test_kernels_in_channels_last_give_an_output_in_it(self) -> None:
        layer = self.layer.to(memory_format=torch.channels_last)
        dense = layer.merge().to(memory_format=torch.channels_last)
        outputs = layer(self.images), dense(self.images)
        assert [each.is_contiguous(memory_format=torch.channels_last) for each in outputs] == [True, True]

    def test_hooks_and_replaced_convolutions_are_called(self, seen: list[bool]) -> None:
        called: list[str] = []
        handle = self.layer.expand.register_forward_hook(lambda *_: called.append("hook"))
        self.layer(self.images)
        handle.remove()
        parametrizations.weight_norm(self.layer.project)
        self.layer(self.images)
        assert called == ["hook"]
        assert seen == [True, True]

    def test_a_gradient_is_that_of_the_plain_convolutions(self, seen: list[bool]) -> None:
        layer, images = self.layer.requires_grad_(), self.images.requires_grad_()
        layer(images).sum().backward()
        assert seen == [True]
        assert layer.expand.weight.grad is not None


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
