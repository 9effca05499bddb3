"""Parameter groups: weight decay and the scale of the learning rate of each parameter."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from dsft.compat.torch_convolution import Convolution
from dsft.training.optim.layer_depth import number_layers
from dsft.training.optim.parameter_patterns import match_parameters
from dsft.training.settings import OptimizerSettings


def parameter_groups(
    module: nn.Module, settings: OptimizerSettings, words: Mapping[str, Collection[str]]
) -> list[dict[str, Any]]:
    """Return the groups of an optimizer: one for each combination of learning-rate scale and weight decay.

    timm's schedules apply a group's ``lr_scale`` at every step. One-dimensional parameters, biases, and those in the
    module's ``no_weight_decay()`` have no weight decay; nor, with ``depthwise_decay=False``, have depthwise kernels.

    Args:
        module: The network; parameters without ``requires_grad`` are left out.
        settings: Weight decay, layer-wise decay of the learning rate, and its factors by pattern.
        words: Names of the parameters that a word, such as ``head``, stands for in a pattern.

    Raises:
        RecipeError: A pattern of ``lr_mult`` matches no parameter.
    """
    scales = _rate_scales(module, settings, words)
    exempt = _without_decay(module, settings)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        decay = 0.0 if name in exempt else settings.weight_decay
        scale = scales.get(name, 1.0)
        group = groups.setdefault((scale, decay), {"params": [], "weight_decay": decay, "lr_scale": scale})
        group["params"].append(parameter)
    return list(groups.values())


def _rate_scales(
    module: nn.Module, settings: OptimizerSettings, words: Mapping[str, Collection[str]]
) -> dict[str, float]:
    """Return the factor of each parameter's learning rate; of several patterns that match it, the first applies."""
    scales = {name: 1.0 for name, _ in module.named_parameters()}
    if settings.layer_decay is not None:
        # Clark et al. 2020 (ELECTRA, appendix A): the last layer has factor 1, each one before it a smaller one.
        numbers = number_layers(module)
        last = max(numbers.values())
        scales |= {name: settings.layer_decay ** (last - number) for name, number in numbers.items()}
    trained = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    multiplied: set[str] = set()
    for pattern, factor in settings.lr_mult:
        found = match_parameters(f"optim.lr_mult.{pattern}", pattern, trained, words)
        for name in found - multiplied:
            scales[name] *= factor
        multiplied |= found
    return scales


def _without_decay(module: nn.Module, settings: OptimizerSettings) -> set[str]:
    own = getattr(module, "no_weight_decay", None)
    patterns = own() if own is not None else ()
    exempt = {
        name
        for name, parameter in module.named_parameters()
        if parameter.ndim <= 1 or name.endswith(".bias") or any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    if not settings.depthwise_decay:
        exempt |= {f"{name}.weight".removeprefix(".") for name, part in module.named_modules() if _is_depthwise(part)}
    return exempt


def _is_depthwise(part: nn.Module) -> bool:
    return isinstance(part, Convolution) and part.groups == part.in_channels > 1
