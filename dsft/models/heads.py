"""The classifier layers of a network, and their replacement for another set of classes."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

from torch import nn

from dsft.choices import ModelSource
from dsft.errors import ModelError
from dsft.models.detector import Detector, detection_heads, set_classes
from dsft.models.libraries import build_model
from dsft.models.spec import LoadedModel

# The attributes of the networks of torchvision and smp for their classifiers, whose last layer is the head.
_HEAD_ATTRIBUTES = (
    "fc",
    "classifier",
    "head",
    "heads",
    "aux1",
    "aux2",
    "AuxLogits",
    "aux_classifier",
    "segmentation_head",
)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# LR-ASPP adds the outputs of two layers.
_SECOND_HEADS = ("classifier.low_classifier",)


def head_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Return the layers that output class scores, by name, including auxiliary heads.

    For a network that does not declare them, this is the last linear layer, or the last convolution if it has none.
    """
    named = _named_heads(module)
    return named if named or hasattr(module, "get_classifier") else _last_layer(module)


def _named_heads(module: nn.Module) -> dict[str, nn.Module]:
    """Return the classifiers that a network of a library declares."""
    if isinstance(module, Detector):
        return detection_heads(module)
    get_classifier = getattr(module, "get_classifier", None)
    if get_classifier is None:
        return _torchvision_heads(module)
    found = get_classifier()
    # timm does not declare the second classifier of VOLO.
    heads = (*(found if isinstance(found, tuple | list) else (found,)), getattr(module, "aux_head", None))
    wanted = {id(head) for head in heads}
    return {name: layer for name, layer in module.named_modules() if id(layer) in wanted}


def head_parameters(module: nn.Module) -> tuple[str, ...]:
    """Return the names of the classifiers' parameters, including auxiliary heads."""
    owned = {id(parameter) for layer in head_layers(module).values() for parameter in layer.parameters()}
    return tuple(name for name, parameter in module.named_parameters() if id(parameter) in owned)


def replace_head(loaded: LoadedModel, num_classes: int, classes: tuple[str, ...] | None) -> LoadedModel:
    """Replace the classifiers of a network by untrained ones; all other weights are kept.

    The new classifiers are built by the library, so that the result matches its spec. In a network of the user's own
    the last linear layer is replaced, or the last convolution if there is no linear layer.

    Args:
        loaded: The network; it is not modified.
        num_classes: Number of outputs of the new classifiers.
        classes: The class names, or None.

    Returns:
        A copy of the network with new classifiers.

    Raises:
        ModelError: The network has no classifier that can be replaced.
    """
    spec = dataclasses.replace(loaded.spec, num_classes=num_classes)
    if spec.source is ModelSource.PYTHON:
        heads = _resized_heads(loaded.module, loaded.spec.num_classes, num_classes)
        advice = (
            f" Its {loaded.spec.num_classes} outputs are not those of a final linear layer. Let {spec.name} return a "
            f"network with {num_classes} outputs."
        )
    else:
        heads, advice = _named_heads(build_model(spec)), ""
    if not any(True for head in heads.values() for _ in head.parameters()):
        raise ModelError(
            f"model {spec}: has no classifier that can be replaced by one of {num_classes} classes.{advice}"
        )
    module = copy.deepcopy(loaded.module)
    for name, head in heads.items():
        module.set_submodule(name, head)
    if isinstance(module, Detector):
        set_classes(module, num_classes)
    for part in module.modules():
        if not isinstance(module, Detector) and getattr(part, "num_classes", None) == loaded.spec.num_classes:
            counted: Any = part
            counted.num_classes = num_classes
    return dataclasses.replace(loaded, module=module, spec=spec, classes=classes)


def _torchvision_heads(module: nn.Module) -> dict[str, nn.Module]:
    heads: dict[str, nn.Module] = {}
    for attribute in _HEAD_ATTRIBUTES:
        inside = getattr(module, attribute, None)
        if isinstance(inside, nn.Module):
            layers = [
                (f"{attribute}.{name}".rstrip("."), layer)
                for name, layer in inside.named_modules()
                if isinstance(layer, nn.Linear | nn.Conv2d | nn.Conv3d)
            ]
            heads.update(layers[-1:])
    heads.update((name, layer) for name, layer in module.named_modules() if name in _SECOND_HEADS)
    return heads


def _last_layer(module: nn.Module) -> dict[str, nn.Module]:
    """Return the last linear layer in the order of registration, or the last convolution if there is none."""
    for kind in (nn.Linear, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        if layers := [(name, layer) for name, layer in module.named_modules() if isinstance(layer, kind)]:
            return dict(layers[-1:])
    return {}


def _resized_heads(module: nn.Module, before: int, after: int) -> dict[str, nn.Module]:
    """Return untrained classifiers with another number of outputs for all that are plain layers."""
    heads: dict[str, nn.Module] = {}
    for name, layer in head_layers(module).items():
        if type(layer) is nn.Linear and layer.out_features == before:
            heads[name] = nn.Linear(layer.in_features, after, bias=layer.bias is not None)
        elif type(layer) in _CONVOLUTIONS and layer.out_channels == before and layer.groups == 1:
            heads[name] = type(layer)(
                layer.in_channels,
                after,
                layer.kernel_size,
                layer.stride,
                layer.padding,
                layer.dilation,
                bias=layer.bias is not None,
                padding_mode=layer.padding_mode,
            )
    return heads
