"""Parameter groups: which parameters decay, and whose learning rate is scaled by how much."""

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
    """Return the groups of an optimizer: one for each scale of the rate and each weight decay.

    A group's ``lr_scale`` is applied by timm's schedules at every step. Parameters with one dimension, biases, and
    those of the module's ``no_weight_decay()`` have no weight decay; nor, where the settings say so, have
    depthwise kernels, each of which sees one channel only.

    Args:
        module: The network; parameters without ``requires_grad`` stay out for good.
        settings: Weight decay, layer-wise decay and multipliers.
        words: Parameter names that a word in a pattern's place stands for, such as ``head``.

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
    """Return what each parameter's learning rate is multiplied by; the first pattern that matches it counts."""
    scales = {name: 1.0 for name, _ in module.named_parameters()}
    if settings.layer_decay is not None:
        # Clark et al. 2020 (ELECTRA, appendix A): the last layer has the whole rate, each one before it a share.
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
