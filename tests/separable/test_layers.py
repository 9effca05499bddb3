from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dsft.choices import Form, Structure
from dsft.errors import ConversionError
from dsft.separable import (
    SEPARABLE_CLASSES,
    DepthwiseSeparableConv,
    DepthwiseSeparableConv1d,
    DepthwiseSeparableConv2d,
    DepthwiseSeparableConv3d,
    DepthwiseSeparableConvTranspose2d,
    allowed_forms,
)
from tests.geometry import SIZES, geometries, in_form


@st.composite
def layers(draw: st.DrawFn) -> DepthwiseSeparableConv:
    kind = draw(st.sampled_from(list(SEPARABLE_CLASSES.values())))
    geometry = draw(geometries(kind))
    order = draw(st.sampled_from([Structure.DW_PW, Structure.PW_DW]))
    groups = geometry["groups"]
    width = geometry["in_channels" if order is Structure.DW_PW else "out_channels"] // groups
    least = 0 if order is Structure.DW_PW else 1
    block = draw(st.lists(st.integers(least, 3), min_size=width, max_size=width).filter(any))
    kernels = [count for _ in range(groups) for count in draw(st.permutations(block))]
    forms = allowed_forms(kernels, groups, order, transposed=kind.transposed)
    form = draw(st.sampled_from([None, *forms]))
    layer = kind(**geometry, kernels=kernels, order=order, form=form, dtype=torch.float64)
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    return layer


def images_for(layer: DepthwiseSeparableConv) -> Tensor:
    return torch.randn(2, layer.in_channels, *SIZES[layer.dimensions], dtype=torch.float64)


# torch says that it pads by hand where an even kernel needs one more on one side.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=300, deadline=None)
@given(layer=layers())
def test_equals_the_dense_convolution_of_its_composed_kernel(layer: DepthwiseSeparableConv) -> None:
    images = images_for(layer)
    dense: Any = layer.merge()
    assert type(dense) is layer.dense_class
    assert layer.weight.shape == dense.weight.shape
    torch.testing.assert_close(layer(images), dense(images))
    torch.testing.assert_close(layer(images[0]), dense(images[0]))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=100, deadline=None)
@given(layer=layers(), data=st.data())
def test_every_form_of_a_layer_computes_the_same(layer: DepthwiseSeparableConv, data: st.DataObject) -> None:
    forms = allowed_forms(layer.kernels, layer.groups, layer.order, transposed=layer.transposed)
    if not forms:
        assert layer.form is None
        return
    images = images_for(layer)
    twin = in_form(layer, data.draw(st.sampled_from(forms)))
    torch.testing.assert_close(twin(images), layer(images))
    for mine, its in zip(layer.factors(), twin.factors(), strict=True):
        assert torch.equal(mine, its)


def test_the_forms_that_a_layer_can_take() -> None:
    equal = (Form.CONCATENATE, Form.GATHER, Form.MULTIPLIER, Form.PASSES)
    assert allowed_forms([2, 2], 1, Structure.DW_PW) == allowed_forms([3, 3], 2, Structure.DW_PW) == equal
    assert (
        allowed_forms([2, 1], 1, Structure.DW_PW)
        == allowed_forms([0, 1], 1, Structure.DW_PW)
        == (Form.GATHER, Form.PASSES)
    )
    # The ranks of the two groups are not alike, so no pass is a grouped convolution.
    assert allowed_forms([2, 1, 0, 3], 2, Structure.DW_PW) == (Form.GATHER,)
    assert allowed_forms([2, 2], 1, Structure.DW_PW, transposed=True) == equal[:2]
    assert allowed_forms([2, 2], 1, Structure.DW_PW, norm_between=True) == equal[:3]
    assert allowed_forms([1, 1], 1, Structure.DW_PW) == allowed_forms([2, 2], 1, Structure.PW_DW) == ()
    with pytest.raises(ValueError, match=r"form: expected one of \['gather', 'passes'\], found 'multiplier'"):
        DepthwiseSeparableConv2d(2, 2, (3, 3), kernels=[2, 1], form=Form.MULTIPLIER)


def test_a_transposed_layer_takes_the_output_size_that_torch_takes() -> None:
    for order in (Structure.DW_PW, Structure.PW_DW):
        layer = DepthwiseSeparableConvTranspose2d(
            3, 4, 3, kernels=[2] * (3 if order is Structure.DW_PW else 4), order=order, stride=2
        )
        dense = layer.merge()
        images = torch.randn(1, 3, 5, 5)
        assert layer(images, output_size=[12, 11]).shape == (1, 4, 12, 11)
        torch.testing.assert_close(layer(images, output_size=[12, 11]), dense(images, output_size=[12, 11]))


@pytest.mark.parametrize("order", [Structure.DW_PW, Structure.PW_DW])
@pytest.mark.parametrize("kind", SEPARABLE_CLASSES.values())
def test_a_norm_between_is_applied_and_refuses_to_be_merged(
    kind: type[DepthwiseSeparableConv], order: Structure
) -> None:
    layer = kind(4, 4, 3, kernels=[2] * 4, order=order, norm_between=True, dtype=torch.float64)
    images = images_for(layer)
    first, second = (
        (layer.depthwise, layer.pointwise) if order is Structure.DW_PW else (layer.pointwise, layer.depthwise)
    )
    spread = torch.cat([images, images], 1) if order is Structure.DW_PW else images
    between = layer.between[0](first(spread)).relu()
    expected = second(between) if order is Structure.DW_PW else layer.sum(second(between))
    torch.testing.assert_close(layer(images), expected)
    for read in (layer.merge, lambda: layer.weight):
        with pytest.raises(ConversionError, match="has a BatchNorm and a ReLU between"):
            read()


def test_weight_is_the_sum_of_products_written_out() -> None:
    layer = DepthwiseSeparableConv2d(2, 3, (3, 3), kernels=[2, 1])
    expected = torch.zeros(3, 2, 3, 3)
    for kernel, channel in enumerate(layer.channels.tolist()):
        for output in range(3):
            point = layer.pointwise.weight[output, kernel, 0, 0]
            expected[output, channel] += point * layer.depthwise.weight[kernel, 0]
    torch.testing.assert_close(layer.weight.as_subclass(torch.Tensor), expected)


@pytest.mark.parametrize("kernels", [[1, 1], [1, 1, 1, -1], [0, 0, 1, 1], [2, 0, 1, 0]])
def test_kernels_that_do_not_fit_are_refused(kernels: list[int]) -> None:
    with pytest.raises(ValueError, match="kernels: "):
        DepthwiseSeparableConv2d(4, 4, (3, 3), kernels=kernels, groups=2)


def test_an_output_without_kernels_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 for each of 3 channels"):
        DepthwiseSeparableConv2d(4, 3, (3, 3), kernels=[2, 0, 1], order=Structure.PW_DW)


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: setattr(layer, "weight", nn.Parameter(torch.ones(4, 3, 3, 3))),
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
    layer = DepthwiseSeparableConv2d(3, 4, (3, 3), kernels=[1, 1, 1])
    with pytest.raises((AttributeError, RuntimeError), match="is composed of those of its convolutions"):
        change(layer)


def test_a_penalty_on_the_composed_weight_reaches_both_factors() -> None:
    layer = DepthwiseSeparableConv2d(3, 4, (3, 3), kernels=[1, 2, 1])
    penalty = layer.weight.square().sum()
    penalty += 1.0  # in place, on what is a plain tensor again
    torch.autograd.backward(penalty)
    assert layer.depthwise.weight.grad is not None
    assert layer.pointwise.weight.grad is not None
    assert layer.depthwise.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("kernels", [[1, 1, 1], [2, 2, 2], [3, 1, 0]])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_memory_layout_changes_nothing(kernels: list[int], layout: torch.memory_format) -> None:
    layer = DepthwiseSeparableConv2d(3, 4, (3, 3), kernels=kernels, padding=(1, 1))
    images = torch.randn(2, 3, 8, 8)
    expected = layer(images)
    layer.to(memory_format=layout)
    torch.testing.assert_close(layer(images.to(memory_format=layout)), expected)


def test_unbatched_images_and_half_precision() -> None:
    layer = DepthwiseSeparableConv2d(3, 4, (3, 3), kernels=[2, 1, 1])
    images = torch.randn(3, 8, 8)
    torch.testing.assert_close(layer(images), layer(images.unsqueeze(0)).squeeze(0))
    assert layer.bfloat16()(images.bfloat16()).dtype is torch.bfloat16


def test_state_dict_holds_weights_only_and_copies_are_whole() -> None:
    layer = DepthwiseSeparableConv2d(3, 4, (3, 3), kernels=[2, 1, 1])
    assert list(layer.state_dict()) == ["depthwise.weight", "pointwise.weight", "pointwise.bias"]
    images = torch.randn(1, 3, 8, 8)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):  # noqa: S301 (our own bytes)
        assert torch.equal(twin(images), layer(images))


def test_reads_like_a_convolution_but_is_none() -> None:
    layer = DepthwiseSeparableConv2d(4, 6, (3, 2), kernels=[1] * 4, stride=(2, 1), padding=(1, 0), groups=2, bias=False)
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


def export(layer: nn.Module, images: Tensor) -> set[str]:
    """Export a layer, check the program, and return the operators in it."""
    program = torch.export.export(layer.eval(), (images,))
    torch.testing.assert_close(program.module()(images), layer(images))
    return {str(node.target).split(".")[1] for node in program.graph.nodes if node.op == "call_function"}


@pytest.mark.parametrize(
    ("kernels", "form", "operators"),
    [
        ([1, 1, 1], None, set()),
        ([2, 1, 1], Form.GATHER, {"index_select"}),
        ([2, 2, 2], Form.CONCATENATE, {"cat"}),
        ([2, 2, 2], Form.MULTIPLIER, set()),
        ([2, 2, 2], Form.PASSES, {"add", "slice", "reshape", "flatten"}),
        ([2, 1, 1], Form.PASSES, {"add", "slice", "reshape", "flatten", "index_select"}),
    ],
)
def test_every_form_exports_to_plain_operators(kernels: Sequence[int], form: Form | None, operators: set[str]) -> None:
    layer = DepthwiseSeparableConv2d(3, 4, (3, 3), kernels=kernels, form=form)
    assert export(layer, torch.randn(1, 3, 8, 8)) == operators | {"conv2d"}


@settings(max_examples=50, deadline=None)
@given(layer=layers())
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_layers_can_be_traced_symbolically(layer: DepthwiseSeparableConv) -> None:
    images = images_for(layer)
    torch.testing.assert_close(torch.fx.symbolic_trace(layer)(images), layer(images))


@pytest.mark.parametrize("order", [Structure.DW_PW, Structure.PW_DW])
def test_layers_can_be_built_without_memory(order: Structure) -> None:
    layer = DepthwiseSeparableConv2d(4, 4, 3, kernels=[2, 1, 1, 3], order=order, device=torch.device("meta"))
    assert layer(torch.empty(1, 4, 8, 8, device="meta")).shape == (1, 4, 6, 6)


@pytest.mark.parametrize(
    ("kernels", "groups", "operators"),
    [
        ([1, 1, 1, 1], 2, set()),
        ([2, 2, 2, 2], 1, {"narrow", "add"}),
        ([3, 2, 2, 1], 1, {"narrow", "add", "cat"}),
        ([1, 2, 2, 1], 2, {"narrow", "add", "cat", "index_select"}),
    ],
)
def test_the_sum_of_pw_dw_exports_to_plain_operators(kernels: Sequence[int], groups: int, operators: set[str]) -> None:
    layer = DepthwiseSeparableConv2d(4, 4, (3, 3), kernels=kernels, order=Structure.PW_DW, groups=groups, bias=False)
    assert export(layer, torch.randn(1, 4, 8, 8)) == operators | {"conv2d"}


@pytest.mark.parametrize("kind", [DepthwiseSeparableConv1d, DepthwiseSeparableConv3d])
@pytest.mark.parametrize("order", [Structure.DW_PW, Structure.PW_DW])
def test_other_dimensions_export_too(kind: type[DepthwiseSeparableConv], order: Structure) -> None:
    layer = kind(3, 3, 3, kernels=[2, 2, 2], order=order)
    operators = export(layer, torch.randn(1, 3, *SIZES[kind.dimensions]))
    assert operators <= {f"conv{kind.dimensions}d", "cat", "narrow", "add", "reshape"}


def test_is_built_as_torchs_convolutions_are() -> None:
    plain = DepthwiseSeparableConv2d(8, 16, 3)
    assert (plain.kernels, plain.structure) == ((1,) * 8, Structure.DW_PW)
    assert plain(torch.randn(1, 8, 6, 6)).shape == (1, 16, 4, 4)
    for dense, layer in SEPARABLE_CLASSES.items():
        names = [*inspect.signature(dense).parameters]
        assert [*inspect.signature(layer).parameters][: len(names)] == names
    given: tuple[Any, ...] = (4, 6, 3, 2, 1, 2, 2, False, "reflect", None, torch.float64)
    built = DepthwiseSeparableConv2d(*given)
    assert str(built.merge()) == str(nn.Conv2d(*given))
    assert built.weight.dtype is torch.float64
    transposed: tuple[Any, ...] = (4, 6, 3, 2, 1, 1, 2, False, 2)
    assert str(DepthwiseSeparableConvTranspose2d(*transposed).merge()) == str(nn.ConvTranspose2d(*transposed))
    assert DepthwiseSeparableConv2d(4, 6, 3, kernels=2, order="pw_dw").kernels == (2,) * 6
    with pytest.raises(ValueError, match=r"stride: expected one number, or 2, found \(1, 1, 1\)"):
        DepthwiseSeparableConv2d(4, 6, 3, (1, 1, 1))
    with pytest.raises(ValueError, match="order: expected dw_pw or pw_dw, found 'low_rank'"):
        DepthwiseSeparableConv2d(4, 6, 3, order=Structure.LOW_RANK)


def test_is_called_by_keyword_as_a_convolution_is() -> None:
    layer = DepthwiseSeparableConv2d(3, 4, (3, 3), kernels=[1, 1, 1])
    images = torch.randn(1, 3, 8, 8)
    assert torch.equal(layer(input=images), layer(images))


@settings(max_examples=50, deadline=None)
@given(layer=layers())
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_a_layer_built_on_the_meta_device_takes_weights(layer: DepthwiseSeparableConv) -> None:
    empty = layer.like(layer, layer.kernels, layer.order, layer.form).to("meta")
    whole = empty.to_empty(device="cpu")
    for buffer in whole.buffers():
        buffer.fill_(0)
    whole.load_state_dict(layer.state_dict())
    whole.reset_indices()
    images = images_for(layer)
    assert torch.equal(whole(images), layer(images))
    torch.testing.assert_close(whole.weight, layer.weight)
