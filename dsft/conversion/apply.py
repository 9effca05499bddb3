"""The one function that changes a module tree."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from dsft.choices import Structure
from dsft.compat.torch_convolution import Convolution
from dsft.conversion.discovery.dense_kernel import is_trained, kind_of, low_rank_class_of, separable_class_of
from dsft.conversion.factorization import AnyFactors
from dsft.conversion.plan import ConversionPlan, LayerPlan
from dsft.devices import layout_of
from dsft.errors import ConversionError
from dsft.separable import DepthwiseSeparableConv, LowRankConv


def apply_plan(model: nn.Module, plan: ConversionPlan, factors: Mapping[str, AnyFactors] | None = None) -> nn.Module:
    """Put the new layers of a plan in the places of the convolutions, in place.

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
    layers = {layer.name: _new_layer(model, layer, factors, norm_between=plan.norm_between) for layer in plan.converted}
    for planned in plan.converted:
        for alias in planned.aliases:
            parent, _, attribute = alias.rpartition(".")
            if not attribute:
                return layers[planned.name]
            setattr(model.get_submodule(parent), attribute, layers[planned.name])
    return model


def _new_layer(
    model: nn.Module, planned: LayerPlan, factors: Mapping[str, AnyFactors] | None, *, norm_between: bool
) -> DepthwiseSeparableConv | LowRankConv:
    dense = _convolution(model, planned)
    layer: DepthwiseSeparableConv | LowRankConv
    try:
        if planned.replacement is Structure.LOW_RANK:
            layer = low_rank_class_of(dense).like(dense, planned.kernels)
        else:
            build = separable_class_of(dense).like
            layer = build(dense, planned.kernels, planned.replacement, planned.form, norm_between=norm_between)
    except ValueError as error:
        raise ConversionError(f"layer {planned.name!r}: {error}. The plan was made for another network.") from error
    if factors is not None:
        layer.set_factors(*vars(factors[planned.name]).values())
    for parameter in layer.parameters():
        parameter.requires_grad_(is_trained(dense))
    # The bias is the same quantity before and after, so the parameter itself moves over.
    layer.last.bias = dense.bias
    if planned.adds_bias and dense.bias is None:
        zeros = torch.zeros(dense.out_channels, device=dense.weight.device, dtype=dense.weight.dtype)
        layer.last.bias = nn.Parameter(zeros, requires_grad=is_trained(dense))
    if (layout := layout_of(dense.weight)) is not torch.contiguous_format:
        layer.to(memory_format=layout)
    return layer


def _convolution(model: nn.Module, planned: LayerPlan) -> Convolution:
    module = _submodule(model, planned.name)
    if not isinstance(module, Convolution) or kind_of(module) is None:
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
    what, count = {
        Structure.DW_PW: ("input channels", module.in_channels),
        Structure.PW_DW: ("output channels", module.out_channels),
        Structure.LOW_RANK: ("groups", module.groups),
    }[planned.replacement]
    if count != len(planned.kernels):
        raise ConversionError(
            f"layer {planned.name!r}: the plan needs {len(planned.kernels)} {what}, found {count}. The plan was made "
            f"for another network."
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
