"""The one function that changes a module tree."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from dsft.choices import Order
from dsft.derive import Factors
from dsft.devices import layout_of
from dsft.errors import ConversionError
from dsft.separable import DepthwiseSeparableConv
from dsft.surgery.dense import is_trained, kind_of, separable_class_of
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
    layers = {
        layer.name: _separable_layer(model, layer, factors, norm_between=plan.norm_between) for layer in plan.converted
    }
    for planned in plan.converted:
        for alias in planned.aliases:
            parent, _, attribute = alias.rpartition(".")
            if not attribute:
                return layers[planned.name]
            setattr(model.get_submodule(parent), attribute, layers[planned.name])
    return model


def _separable_layer(
    model: nn.Module, planned: LayerPlan, factors: Mapping[str, Factors] | None, *, norm_between: bool
) -> DepthwiseSeparableConv:
    dense = _convolution(model, planned)
    order = planned.order or Order.DW_PW
    build = separable_class_of(dense).like
    layer = build(dense, planned.kernels, order, planned.form, norm_between=norm_between)
    if factors is not None:
        layer.set_factors(factors[planned.name].depthwise, factors[planned.name].pointwise)
    for parameter in layer.parameters():
        parameter.requires_grad_(is_trained(dense))
    # The bias is the same quantity before and after, so the parameter itself moves over.
    layer.last.bias = dense.bias
    if (layout := layout_of(dense.weight)) is not torch.contiguous_format:
        layer.to(memory_format=layout)
    return layer


def _convolution(model: nn.Module, planned: LayerPlan) -> _ConvNd:
    module = _submodule(model, planned.name)
    if not isinstance(module, _ConvNd) or kind_of(module) is None:
        found = "nothing" if module is None else type(module).__name__
        raise ConversionError(
            f"layer {planned.name!r}: the plan needs a convolution there, found {found}. The plan was made for "
            f"another network."
        )
    if planned.weight_shape not in ((), tuple(module.weight.shape)):
        raise ConversionError(
            f"layer {planned.name!r}: the plan needs a weight of shape {planned.weight_shape}, found "
            f"{tuple(module.weight.shape)}. The plan was made for another network."
        )
    side = "output" if planned.order is Order.PW_DW else "input"
    channels = module.out_channels if planned.order is Order.PW_DW else module.in_channels
    if channels != len(planned.kernels):
        raise ConversionError(
            f"layer {planned.name!r}: the plan needs {len(planned.kernels)} {side} channels, found {channels}. The "
            f"plan was made for another network."
        )
    if any(_submodule(model, alias) is not module for alias in planned.aliases):
        raise ConversionError(
            f"layer {planned.name!r}: the plan needs one module under the names {', '.join(planned.aliases)}, found "
            "several. The plan was made for another network."
        )
    return module


def _submodule(model: nn.Module, name: str) -> nn.Module | None:
    try:
        return model.get_submodule(name)
    except AttributeError:
        return None
