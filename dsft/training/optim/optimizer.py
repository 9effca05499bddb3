"""The optimizer: any of timm's first-order ones, with parameter groups that stay the same for the whole run."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any

import torch
from timm.optim import create_optimizer_v2, list_optimizers  # type: ignore[attr-defined] # no __all__
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from dsft.compat.fused_optimizers import flat_fused_updates
from dsft.devices import layout_of
from dsft.errors import RecipeError, did_you_mean
from dsft.training.optim.parameter_groups import parameter_groups
from dsft.training.settings import OptimizerSettings

NO_WORDS: Mapping[str, Collection[str]] = MappingProxyType({})

# They need the graph of the gradient (Hutchinson's estimator of the Hessian), which the training loop does not keep.
_SECOND_ORDER = frozenset({"adahessian"})

_FUSED = frozenset({"adam", "adamw", "momentum", "nesterov", "sgd"})
"""torch's own, which have a fused implementation on these devices: with small images an unfused step of ``adamw``
takes a fifth of the training time."""
_FUSED_DEVICES = frozenset({"cpu", "cuda"})


def make_optimizer(
    module: nn.Module, settings: OptimizerSettings, words: Mapping[str, Collection[str]] = NO_WORDS
) -> Optimizer:
    """Create an optimizer for every parameter that is trained in any phase.

    The groups (:func:`dsft.training.optim.parameter_groups.parameter_groups`) contain parameters that are frozen at
    first: timm's optimizers skip a parameter without a gradient, so the end of a phase changes no group.

    Args:
        module: The network, on its device; parameters without ``requires_grad`` are never trained.
        settings: Name and hyperparameters.
        words: Names of the parameters that a word, such as ``head``, stands for in a pattern.

    Raises:
        RecipeError: The optimizer is unknown, rejects the hyperparameters, or needs a package or device that is
            missing; or a pattern matches no parameter.
    """
    require_known_optimizer(settings.opt)
    groups = parameter_groups(module, settings, words)
    options: dict[str, Any] = {"fused": True} if _supports_fused(module, settings.opt) else {}
    try:
        # Some constructors recommend optional packages, which a recipe cannot install.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer: Optimizer = create_optimizer_v2(
                groups,
                settings.opt,
                lr=settings.lr,
                weight_decay=settings.weight_decay,
                momentum=settings.momentum,
                **options,
            )
    except (AssertionError, ImportError, ValueError) as error:
        raise RecipeError(
            f"optim.opt: {settings.opt!r} cannot be created from this section on this machine: {error}."
        ) from error
    _initialize_momentum(optimizer)
    return optimizer


def restore_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load what ``state_dict`` returned, in any memory layout.

    A fused update requires that a parameter and its state have the same strides, and does not check it. Whether the
    update is fused is not restored: it depends on this optimizer's device.
    """
    groups = [
        {**saved, **{key: own[key] for key in own.keys() & {"fused"}}}
        for saved, own in zip(state["param_groups"], optimizer.param_groups, strict=False)
    ]
    optimizer.load_state_dict({**state, "param_groups": groups})
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    _initialize_momentum(optimizer)


def fused_update_context(optimizer: Optimizer) -> AbstractContextManager[object]:
    """Return the context in which to call an optimizer's step; it avoids needless copies of the gradients."""
    is_fused = any(
        group.get("fused") and parameter.device.type == "cpu"
        for group in optimizer.param_groups
        for parameter in group["params"]
    )
    return flat_fused_updates() if is_fused else contextlib.nullcontext()


def _initialize_momentum(optimizer: Optimizer) -> None:
    """Set missing momentum buffers to zero, as the first step would: a fused step needs all of a group's or none."""
    for group in optimizer.param_groups:
        if isinstance(optimizer, SGD) and group["fused"] and group["momentum"]:
            for parameter in group["params"]:
                if optimizer.state[parameter].get("momentum_buffer") is None:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def _supports_fused(module: nn.Module, opt: str) -> bool:
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return opt.lower() in _FUSED and all(
        parameter.device.type in _FUSED_DEVICES
        and parameter.is_floating_point()
        # One with gaps in memory cannot be viewed as a vector.
        and parameter.is_contiguous(memory_format=layout_of(parameter))
        for parameter in trained
    )


def require_known_optimizer(opt: str) -> None:
    """Check that timm has a first-order optimizer of that name.

    Raises:
        RecipeError: It has none.
    """
    names = [str(name) for name in list_optimizers() if name not in _SECOND_ORDER]
    if opt.lower().removeprefix("lookahead_") not in names:
        raise RecipeError(
            f"optim.opt: unknown optimizer, found {opt!r}.{did_you_mean(opt.lower(), names)} "
            f"Valid are timm's {len(names)} first-order optimizers, such as sgd, adamw, lamb, lion, and "
            "each of them with the prefix lookahead_."
        )
