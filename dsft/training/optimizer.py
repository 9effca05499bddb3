"""The optimizer: any of timm's, its parameter groups fixed for the whole run."""

from __future__ import annotations

import warnings

from timm.optim import create_optimizer_v2, list_optimizers  # type: ignore[attr-defined] # no __all__
from torch import nn
from torch.optim import Optimizer

from dsft.errors import RecipeError, did_you_mean
from dsft.training.settings import OptimizerSettings

# They need the gradient's own graph (Hutchinson's estimate of the Hessian), which this loop does not keep.
_SECOND_ORDER = frozenset({"adahessian"})


def make_optimizer(module: nn.Module, settings: OptimizerSettings) -> Optimizer:
    """Create an optimizer over every parameter that trains in any phase.

    Parameters with one dimension, biases, and those of the module's ``no_weight_decay()`` have no weight
    decay. Frozen parameters belong to the groups as well: every optimizer of timm passes over a parameter
    without a gradient, so that a phase that ends changes no group.

    Args:
        module: The network, on its device; parameters without ``requires_grad`` stay out for good.
        settings: The name and its figures.

    Raises:
        RecipeError: The optimizer is unknown, refuses the figures, or needs what this machine has not.
    """
    _require_known(settings.opt)
    try:
        # Some constructors recommend optional packages: nothing that a recipe could act on.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer: Optimizer = create_optimizer_v2(
                module,
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
