"""Replacing the convolutions of a network: the only functions that change a module tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from dsft.compat.torch_convolution import Convolution
from dsft.conversion.discovery.dense_kernel import find_convolution, find_submodule, is_trained
from dsft.conversion.discovery.preconditions import unwrap_network
from dsft.conversion.factorization import AnyFactors
from dsft.conversion.factorize import factorize_layers
from dsft.conversion.plan import ConversionPlan, LayerPlan
from dsft.conversion.structures import STRUCTURES
from dsft.devices import layout_of
from dsft.errors import ConversionError
from dsft.separable import FactoredConv


@torch.inference_mode(mode=False)  # parameters created in inference mode could not be trained
def apply_plan(model: nn.Module, plan: ConversionPlan, factors: Mapping[str, AnyFactors] | None = None) -> nn.Module:
    """Replace the convolutions of a network by the layers of a plan, in place; the weights are kept.

    All layers are built before the first one is replaced, so that an error leaves the network unchanged.

    Args:
        model: The dense network that the plan was made for. Of a compiled or distributed one the network inside is
            changed and returned, which must be compiled or distributed again.
        plan: What becomes of each convolution.
        factors: The weights of each converted layer by name, as :func:`dsft.factorize` returns them; None derives them
            here, without data.

    Returns:
        The network, or the new layer where the root module was the convolution.

    Raises:
        ConversionError: A convolution of the plan is missing from the network or of another shape, ``factors`` lacks a
            layer, or the plan's method needs calibration data and there are no ``factors``.
    """
    model = unwrap_network(model)
    if factors is None:
        factors = factorize_layers(model, plan)
    layers = _build_layers(model, plan)
    if missing := [name for name in layers if name not in factors]:
        raise ConversionError(
            f"factors: layer {missing[0]!r} is missing. Pass the factors of this plan: dsft.factorize(model, plan)."
        )
    for name, layer in layers.items():
        layer.set_factors(*vars(factors[name]).values())
    return _replace(model, plan, layers)


@torch.inference_mode(mode=False)  # parameters created in inference mode could not be trained
def replay_plan(model: nn.Module, plan: ConversionPlan) -> nn.Module:
    """Replace the convolutions of a network as :func:`apply_plan` does, with random weights.

    It is for networks whose state dict is loaded next, such as those of a model folder.

    Args:
        model: A network of the architecture that the plan was made for, with any weights.
        plan: What becomes of each convolution.

    Returns:
        ``model`` itself, or the new layer where the root module was the convolution.

    Raises:
        ConversionError: A convolution of the plan is missing from the network or of another shape.
    """
    return _replace(model, plan, _build_layers(model, plan))


def _replace(model: nn.Module, plan: ConversionPlan, layers: Mapping[str, FactoredConv]) -> nn.Module:
    for planned in plan.converted:
        for alias in planned.aliases:
            parent, _, attribute = alias.rpartition(".")
            if not attribute:
                return layers[planned.name]
            setattr(model.get_submodule(parent), attribute, layers[planned.name])
    return model


def _build_layers(model: nn.Module, plan: ConversionPlan) -> dict[str, FactoredConv]:
    return {layer.name: _build_layer(model, layer, norm_between=plan.norm_between) for layer in plan.converted}


def _build_layer(model: nn.Module, planned: LayerPlan, *, norm_between: bool) -> FactoredConv:
    dense, replacement = _find_planned(model, planned), planned.replacement
    try:
        layer = STRUCTURES[replacement.structure].build_layer(dense, replacement, norm_between=norm_between)
    except ValueError as error:
        raise ConversionError(f"layer {planned.name!r}: {error}. The plan was made for another network.") from error
    for parameter in layer.parameters():
        parameter.requires_grad_(is_trained(dense))
    last: Any = layer.last
    # The bias is the same quantity before and after, so the parameter itself is moved.
    last.bias = dense.bias
    if planned.adds_bias and dense.bias is None:
        zeros = torch.zeros(dense.out_channels, device=dense.weight.device, dtype=dense.weight.dtype)
        last.bias = nn.Parameter(zeros, requires_grad=is_trained(dense))
    if (layout := layout_of(dense.weight)) is not torch.contiguous_format:
        layer.to(memory_format=layout)
    return layer


def _find_planned(model: nn.Module, planned: LayerPlan) -> Convolution:
    """Return the convolution of a layer, after checks that it is the one that was planned for."""
    module, name = find_convolution(model, planned.name), planned.name
    if planned.weight_shape not in ((), tuple(module.weight.shape)):
        raise ConversionError(
            f"layer {name!r}: the plan needs a weight of shape {planned.weight_shape}, found "
            f"{tuple(module.weight.shape)}. The plan was made for another network."
        )
    what, count = STRUCTURES[planned.replacement.structure].channels(module)
    if count != len(planned.kernels):
        raise ConversionError(
            f"layer {name!r}: the plan needs {len(planned.kernels)} {what}, found {count}. The plan was made for "
            "another network."
        )
    if any(find_submodule(model, alias) is not module for alias in planned.aliases):
        raise ConversionError(
            f"layer {name!r}: the plan needs one module under the names {', '.join(planned.aliases)}, found several. "
            "The plan was made for another network."
        )
    return module
