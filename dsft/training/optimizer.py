"""The optimizer: any of timm's, its parameter groups fixed for the whole run."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from types import MappingProxyType

from timm.optim import create_optimizer_v2, list_optimizers  # type: ignore[attr-defined] # no __all__
from torch import nn
from torch.optim import Optimizer

from dsft.errors import RecipeError, did_you_mean
from dsft.training.groups import parameter_groups
from dsft.training.settings import OptimizerSettings

NO_WORDS: Mapping[str, Collection[str]] = MappingProxyType({})

# They need the gradient's own graph (Hutchinson's estimate of the Hessian), which this loop does not keep.
_SECOND_ORDER = frozenset({"adahessian"})


def make_optimizer(
    module: nn.Module, settings: OptimizerSettings, words: Mapping[str, Collection[str]] = NO_WORDS
) -> Optimizer:
    """Create an optimizer over every parameter that trains in any phase.

    Frozen parameters belong to the groups (:func:`dsft.training.groups.parameter_groups`) as well: every optimizer
    of timm passes over a parameter without a gradient, so that a phase that ends changes no group.

    Args:
        module: The network, on its device; parameters without ``requires_grad`` stay out for good.
        settings: The name and its figures.
        words: Parameter names that a word in a pattern's place stands for.

    Raises:
        RecipeError: The optimizer is unknown, refuses the figures, or needs what this machine has not; or a pattern
            matches nothing.
    """
    _require_known(settings.opt)
    groups = parameter_groups(module, settings, words)
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
            )
    except (AssertionError, ImportError, ValueError) as error:
        raise RecipeError(
            f"optim.opt: {settings.opt!r} cannot be made from this section on this machine: {error}."
        ) from error
    return optimizer


def _require_known(opt: str) -> None:
    names = [str(name) for name in list_optimizers() if name not in _SECOND_ORDER]
    if opt.lower().removeprefix("lookahead_") not in names:
        raise RecipeError(
            f"optim.opt: unknown optimizer, found {opt!r}.{did_you_mean(opt.lower(), names)} "
            f"Valid are timm's {len(names)} first-order optimizers, such as sgd, adamw, lamb, lion, and "
            "each of them after lookahead_."
        )
