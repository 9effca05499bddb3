from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dsft.separable import DepthwiseSeparableConv2d
from dsft.separable.conv2d import PaddingMode, kernel_channels

SIDES = st.tuples(st.integers(1, 4), st.integers(1, 4))
STEPS = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def layers(draw: st.DrawFn) -> DepthwiseSeparableConv2d:
    groups = draw(st.integers(1, 3))
    per_group = draw(st.integers(1, 3))
    block = draw(st.lists(st.integers(0, 3), min_size=per_group, max_size=per_group).filter(any))
    rows = [draw(st.permutations(block)) for _ in range(groups)]
    is_same = draw(st.booleans())
    mode: PaddingMode = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    return DepthwiseSeparableConv2d(
        groups * per_group,
        groups * draw(st.integers(1, 3)),
        draw(SIDES),
        [count for row in rows for count in row],
        stride=(1, 1) if is_same else draw(STEPS),
        padding="same" if is_same else draw(st.tuples(st.integers(0, 2), st.integers(0, 2))),
        dilation=draw(STEPS),
        groups=groups,
        bias=draw(st.booleans()),
        padding_mode=mode,
        dtype=torch.float64,
    )


# torch says that it pads by hand where an even kernel needs one more on one side.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=150, deadline=None)
@given(layer=layers())
def test_equals_the_dense_convolution_of_its_composed_kernel(layer: DepthwiseSeparableConv2d) -> None:
    images = torch.randn(2, layer.in_channels, 14, 13, dtype=torch.float64)
    dense = layer.merge()
    assert dense.weight.shape == (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)
    torch.testing.assert_close(layer(images), dense(images))


def test_weight_is_the_sum_of_products_written_out() -> None:
    layer = DepthwiseSeparableConv2d(2, 3, (3, 3), [2, 1])
    expected = torch.zeros(3, 2, 3, 3)
    for kernel, channel in enumerate(layer.channels.tolist()):
        for output in range(3):
            point = layer.pointwise.weight[output, kernel, 0, 0]
            expected[output, channel] += point * layer.depthwise.weight[kernel, 0]
    torch.testing.assert_close(layer.weight.as_subclass(torch.Tensor), expected)


def test_kernels_are_sorted_by_group_then_rank_then_channel() -> None:
    assert kernel_channels([2, 1, 0, 3], 4, 2) == [0, 1, 0, 3, 3, 3]
    assert kernel_channels([2, 2], 2, 1) == [0, 1, 0, 1]


@pytest.mark.parametrize("kernels", [[1, 1], [1, 1, 1, -1], [0, 0, 1, 1], [2, 0, 1, 0]])
def test_kernels_that_do_not_fit_are_refused(kernels: list[int]) -> None:
    with pytest.raises(ValueError, match="kernels: "):
        DepthwiseSeparableConv2d(4, 4, (3, 3), kernels, groups=2)


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: setattr(layer, "weight", nn.Parameter(torch.zeros(4, 3, 3, 3))),
        lambda layer: nn.init.kaiming_normal_(layer.weight),
        lambda layer: nn.init.trunc_normal_(layer.weight),
        lambda layer: nn.init.zeros_(layer.weight),
        lambda layer: nn.init.kaiming_uniform_(layer.weight, a=5**0.5),
        lambda layer: nn.init.normal_(layer.weight),
        lambda layer: nn.init.constant_(layer.weight, 1.0),
        lambda layer: layer.weight.data.normal_(),
        lambda layer: setattr(layer.weight, "data", torch.zeros(4, 3, 3, 3)),
        lambda layer: layer.weight.data.__imul__(0.5),
        lambda layer: layer.weight[0].zero_(),
        lambda layer: layer.weight.view(-1).zero_(),
        lambda layer: torch.mul(torch.ones(4, 3, 3, 3), 2, out=layer.weight.detach()),
        lambda layer: layer.weight.detach().mul_(2),
        lambda layer: layer.weight.__setitem__(0, 1.0),
    ],
)
def test_writing_into_the_composed_weight_is_an_error(change: Callable[[Any], object]) -> None:
    layer = DepthwiseSeparableConv2d(3, 4, (3, 3), [1, 1, 1])
    with pytest.raises((AttributeError, RuntimeError), match="is composed of depthwise"):
        change(layer)


def test_a_penalty_on_the_composed_weight_reaches_both_factors() -> None:
    layer = DepthwiseSeparableConv2d(3, 4, (3, 3), [1, 2, 1])
    penalty = layer.weight.square().sum()
    penalty += 1.0  # in place, on what is a plain tensor again
    torch.autograd.backward(penalty)
    assert layer.depthwise.weight.grad is not None
    assert layer.pointwise.weight.grad is not None
    assert layer.depthwise.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("kernels", [[1, 1, 1], [2, 2, 2], [3, 1, 0]])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_memory_layout_changes_nothing(kernels: list[int], layout: torch.memory_format) -> None:
    layer = DepthwiseSeparableConv2d(3, 4, (3, 3), kernels, padding=(1, 1))
    images = torch.randn(2, 3, 8, 8)
    expected = layer(images)
    layer.to(memory_format=layout)
    torch.testing.assert_close(layer(images.to(memory_format=layout)), expected)


def test_unbatched_images_and_half_precision() -> None:
    layer = DepthwiseSeparableConv2d(3, 4, (3, 3), [2, 1, 1])
    images = torch.randn(3, 8, 8)
    torch.testing.assert_close(layer(images), layer(images.unsqueeze(0)).squeeze(0))
    assert layer.bfloat16()(images.bfloat16()).dtype is torch.bfloat16


def test_state_dict_holds_weights_only_and_copies_are_whole() -> None:
    layer = DepthwiseSeparableConv2d(3, 4, (3, 3), [2, 1, 1])
    assert list(layer.state_dict()) == ["depthwise.weight", "pointwise.weight", "pointwise.bias"]
    images = torch.randn(1, 3, 8, 8)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):  # noqa: S301 (our own bytes)
        assert torch.equal(twin(images), layer(images))


def test_reads_like_a_convolution_but_no_fuser_takes_it_for_one() -> None:
    layer = DepthwiseSeparableConv2d(4, 6, (3, 2), [1] * 4, stride=(2, 1), padding=(1, 0), groups=2, bias=False)
    dense = nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), groups=2, bias=False)
    for attribute in (
        "in_channels",
        "out_channels",
        "kernel_size",
        "stride",
        "padding",
        "dilation",
        "groups",
    ):
        assert getattr(layer, attribute) == getattr(dense, attribute)
    assert layer.bias is None
    assert layer.padding_mode == "zeros"
    assert not issubclass(DepthwiseSeparableConv2d, nn.Conv2d)
    # A fuser that does not look at the class is stopped when it scales `weight`.
    with pytest.raises(AttributeError, match="composed of"):
        fuse_conv_bn_eval(layer.eval(), nn.BatchNorm2d(6).eval())  # type: ignore[type-var]


def test_exports_and_compiles_to_plain_operators() -> None:
    layer = DepthwiseSeparableConv2d(3, 4, (3, 3), [2, 1, 1]).eval()
    images = torch.randn(1, 3, 8, 8)
    program = torch.export.export(layer, (images,))
    torch.testing.assert_close(program.module()(images), layer(images))
    names = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert names == {"aten.index_select.default", "aten.conv2d.default"}
