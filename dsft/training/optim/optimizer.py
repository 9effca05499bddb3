"""The optimizer: any of timm's, its parameter groups fixed for the whole run."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any

import torch
from timm.optim import create_optimizer_v2, list_optimizers  # type: ignore[attr-defined] # no __all__
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.overrides import TorchFunctionMode

from dsft.devices import layout_of
from dsft.errors import RecipeError, did_you_mean
from dsft.training.optim.parameter_groups import parameter_groups
from dsft.training.settings import OptimizerSettings

NO_WORDS: Mapping[str, Collection[str]] = MappingProxyType({})

# They need the gradient's own graph (Hutchinson's estimate of the Hessian), which this loop does not keep.
_SECOND_ORDER = frozenset({"adahessian"})

_FUSED = frozenset({"adam", "adamw", "momentum", "nesterov", "sgd"})
"""Torch's own, which update a tensor in one pass over memory on these devices: with small images a step of ``adamw``
otherwise takes a fifth of the training."""
_FUSED_DEVICES = frozenset({"cpu", "cuda"})
_FUSED_UPDATES = frozenset({torch._fused_sgd_, torch._fused_adam_, torch._fused_adamw_})


def make_optimizer(
    module: nn.Module, settings: OptimizerSettings, words: Mapping[str, Collection[str]] = NO_WORDS
) -> Optimizer:
    """Create an optimizer over every parameter that trains in any phase.

    Frozen parameters belong to the groups (:func:`dsft.training.optim.parameter_groups.parameter_groups`) as well:
    every optimizer of timm passes over a parameter without a gradient, so that a phase that ends changes no group.

    Args:
        module: The network, on its device; parameters without ``requires_grad`` stay out for good.
        settings: The name and its figures.
        words: Parameter names that a word in a pattern's place stands for.

    Raises:
        RecipeError: The optimizer is unknown, refuses the figures, or needs what this machine has not; or a pattern
            matches nothing.
    """
    require_known_optimizer(settings.opt)
    groups = parameter_groups(module, settings, words)
    options: dict[str, Any] = {"fused": True} if _can_be_fused(module, settings.opt) else {}
    try:
        # Some constructors recommend optional packages: nothing that a recipe could act on.
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
            f"optim.opt: {settings.opt!r} cannot be made from this section on this machine: {error}."
        ) from error
    _start_momentum(optimizer)
    return optimizer


def restore_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Go on with what ``state_dict`` returned, whatever the memory layout in which it was kept.

    A fused update goes through a parameter and what belongs to it number by number as they lie in memory, and does not
    look whether they lie alike. Whether it is fused is this optimizer's own matter, not that of the one before.
    """
    groups = [
        {**saved, **{key: own[key] for key in own.keys() & {"fused"}}}
        for saved, own in zip(state["param_groups"], optimizer.param_groups, strict=False)
    ]
    optimizer.load_state_dict({**state, "param_groups": groups})
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                kept[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    _start_momentum(optimizer)


def update_as_rows(optimizer: Optimizer) -> AbstractContextManager[object]:
    """Return the context in which an optimizer's step spends no time on the memory layout of what it updates."""
    is_fused = any(
        group.get("fused") and parameter.device.type == "cpu"
        for group in optimizer.param_groups
        for parameter in group["params"]
    )
    return _UpdatesAsRows() if is_fused else contextlib.nullcontext()


class _UpdatesAsRows(TorchFunctionMode):
    """Hands the CPU's fused updates each tensor as one row of numbers, in the order in which they lie.

    They make a row-major copy of every gradient, and do not use it (torch's ``FusedSGDKernel.cpp`` and
    ``FusedAdamKernel.cpp``): with channels_last and small images that is a tenth of the training.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Collection[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call what torch calls, a fused update with rows in the place of kernels."""
        del types
        if func in _FUSED_UPDATES:
            parameters, gradients, *state = args
            alike = [_lying_like(*pair) for pair in zip(parameters, gradients, strict=True)]
            args = [_rows(each) for each in (parameters, alike, *state)]
        return func(*args, **(kwargs or {}))


def _lying_like(parameter: Tensor, gradient: Tensor) -> Tensor:
    return gradient if gradient.stride() == parameter.stride() else torch.empty_like(parameter).copy_(gradient)


def _rows(tensors: Any) -> Any:
    """Return the kernels of a list as rows; steps and other numbers stay as they are."""
    if not isinstance(tensors, list):
        return tensors
    return [each.as_strided((each.numel(),), (1,)) if each.dim() > 1 else each for each in tensors]


def _start_momentum(optimizer: Optimizer) -> None:
    """Begin momentum at zero, which is what its first step does: fused, torch cannot begin some later than others."""
    for group in optimizer.param_groups:
        if isinstance(optimizer, SGD) and group["fused"] and group["momentum"]:
            for parameter in group["params"]:
                if optimizer.state[parameter].get("momentum_buffer") is None:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def _can_be_fused(module: nn.Module, opt: str) -> bool:
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return opt.lower() in _FUSED and all(
        parameter.device.type in _FUSED_DEVICES
        and parameter.is_floating_point()
        # One with gaps is no row of numbers.
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
            "each of them after lookahead_."
        )
