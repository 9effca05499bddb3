"""Internals of ``torch.nn.Module``: ``forward``, hooks, the base class of batch normalisation, and sharding."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn

from dsft.compat.lookup import lookup

_SHARDED_CHILD = "_fsdp_wrapped_module"


_PUBLIC_BATCH_NORMS = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


def batch_norm_class() -> Any:
    """Return what ``isinstance`` recognises a batch normalisation by: torch's base class, or the public classes."""
    return lookup("torch.nn.modules.batchnorm", "_BatchNorm") or _PUBLIC_BATCH_NORMS


if TYPE_CHECKING:
    from torch.nn.modules.batchnorm import _BatchNorm

    BatchNorm = _BatchNorm
else:
    BatchNorm = batch_norm_class()
"""Any batch normalisation of torch, for annotations and for ``isinstance``."""


def replace_forward(module: nn.Module, forward: Callable[..., Any]) -> Callable[[], None]:
    """Give a module another ``forward``, and return a function that undoes it.

    It is set on the instance, so that other modules of its class are not affected; the instance may have had its own.
    """
    attributes = vars(module)
    before = {"forward": attributes["forward"]} if "forward" in attributes else {}
    attributes["forward"] = forward

    def undo() -> None:
        del attributes["forward"]
        attributes.update(before)

    return undo


def hooks_of(module: nn.Module) -> list[Any]:
    """Return all hooks of a module, forward and backward ones and those of its state dict.

    ``torch.nn.Module`` keeps each kind in a mapping whose name ends in ``hooks``; no public method lists them.
    """
    kinds = [value for name, value in vars(module).items() if name.endswith("hooks") and isinstance(value, dict)]
    return [hook for kind in kinds for hook in kind.values()]


def has_forward_hooks(module: nn.Module) -> bool:
    """Whether a module has hooks around its forward pass; True if torch does not tell."""
    return bool(getattr(module, "_forward_hooks", True) or getattr(module, "_forward_pre_hooks", True))


def is_sharded(module: nn.Module) -> bool:
    """Whether FSDP has sharded a module.

    The older form wraps modules, in a class of ``torch.distributed.fsdp``; the newer one makes distributed tensors of
    their parameters.
    """
    is_defined_there = type(module).__module__.startswith("torch.distributed.fsdp")
    is_wrapper = _SHARDED_CHILD in dict(module.named_children()) or is_defined_there
    return is_wrapper or any(hasattr(each, "device_mesh") for each in module.parameters(recurse=False))
