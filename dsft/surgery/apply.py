"""The one function that changes a module tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import nn

from dsft.derive import Factors
from dsft.errors import ConversionError
from dsft.separable import DepthwiseSeparableConv2d
from dsft.separable.same_padding import DepthwiseSeparableConv2dSame
from dsft.surgery.dense import is_same_padded, is_trained, kind_of
from dsft.surgery.plan import ConversionPlan, LayerPlan


def apply_plan(model: nn.Module, plan: ConversionPlan, factors: Mapping[str, Factors] | None = None) -> nn.Module:
    """Put the separable layers of a plan in the places of the convolutions, in place.

    All layers are built before the first is put in, so that an error leaves the network as it was.

    Args:
        model: The network that was planned for, or a fresh one of the same architecture.
        plan: What becomes of each convolution.
        factors: The weights of each converted layer, by name. Without them the new layers keep the random
            weights they were built with, for a state dict to be loaded.

    Returns:
        The network: ``model`` itself, or the new layer where the root was the convolution.

    Raises:
        ConversionError: A convolution of the plan is missing from the network, or of another shape.
    """
    layers = {layer.name: _separable_layer(model, layer, factors) for layer in plan.converted}
    for planned in plan.converted:
        for alias in planned.aliases:
            parent, _, attribute = alias.rpartition(".")
            if not attribute:
                return layers[planned.name]
            setattr(model.get_submodule(parent), attribute, layers[planned.name])
    return model


def _separable_layer(
    model: nn.Module, planned: LayerPlan, factors: Mapping[str, Factors] | None
) -> DepthwiseSeparableConv2d:
    dense = _convolution(model, planned)
    build = DepthwiseSeparableConv2dSame if is_same_padded(dense) else DepthwiseSeparableConv2d
    layer = build(
        dense.in_channels,
        dense.out_channels,
        cast("tuple[int, int]", dense.kernel_size),
        planned.kernels,
        stride=cast("tuple[int, int]", dense.stride),
        padding=cast("str | tuple[int, int]", dense.padding),
        dilation=cast("tuple[int, int]", dense.dilation),
        groups=dense.groups,
        bias=dense.bias is not None,
        padding_mode=dense.padding_mode,
        device=dense.weight.device,
        dtype=dense.weight.dtype,
    )
    if factors is not None:
        with torch.no_grad():
            layer.depthwise.weight.copy_(factors[planned.name].depthwise)
            layer.pointwise.weight.copy_(factors[planned.name].pointwise)
    layer.depthwise.weight.requires_grad_(is_trained(dense))
    layer.pointwise.weight.requires_grad_(is_trained(dense))
    # The bias is the same quantity before and after, so the parameter itself moves over.
    layer.pointwise.bias = dense.bias
    if dense.weight.is_contiguous(memory_format=torch.channels_last) and not dense.weight.is_contiguous():
        layer.to(memory_format=torch.channels_last)
    return layer.train(dense.training)


def _convolution(model: nn.Module, planned: LayerPlan) -> nn.Conv2d:
    try:
        module = model.get_submodule(planned.name)
    except AttributeError:
        module = None
    if not isinstance(module, nn.Conv2d) or kind_of(module) is None:
        found = "nothing" if module is None else type(module).__name__
        raise ConversionError(
            f"layer {planned.name!r}: the plan needs a Conv2d there, found {found}. The plan was made for "
            f"another network."
        )
    if tuple(module.weight.shape) != planned.weight_shape or module.in_channels != len(planned.kernels):
        raise ConversionError(
            f"layer {planned.name!r}: the plan needs a weight of shape {planned.weight_shape} for "
            f"{len(planned.kernels)} channels, found {tuple(module.weight.shape)} for {module.in_channels}. The plan "
            "was made for another network."
        )
    if any(model.get_submodule(alias) is not module for alias in planned.aliases):
        raise ConversionError(
            f"layer {planned.name!r}: the plan needs one module under the names {', '.join(planned.aliases)}, found "
            "several. The plan was made for another network."
        )
    return module
