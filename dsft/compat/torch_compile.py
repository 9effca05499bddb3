"""What ``torch.compile`` makes of a module, and its errors."""

from __future__ import annotations

from torch import nn

_CHILD = "_orig_mod"
_IN_PLACE = "_compiled_call_impl"

COMPILED_PREFIX = f"{_CHILD}."
"""What stands before the names of the tensors in a state dict of a compiled module, and so in files."""


def is_compiled(module: nn.Module) -> bool:
    """Whether a module is what ``torch.compile`` returned.

    Recognised by its child, or else by where its class is defined: importing the class takes seconds.
    """
    return _CHILD in dict(module.named_children()) or type(module).__module__.startswith("torch._dynamo")


def is_compiled_in_place(module: nn.Module) -> bool:
    """Whether ``module.compile()`` was called; False if torch has renamed the attribute that records it."""
    return getattr(module, _IN_PLACE, None) is not None


def without_compilation(module: nn.Module) -> nn.Module:
    """Return the module inside what ``torch.compile`` returned: its only child."""
    return dict(module.named_children()).get(_CHILD) or next(module.children())


def is_compiler_error(error: Exception) -> bool:
    """Whether an error comes from the compiler: its class is defined in a private package of torch."""
    package = ".".join(type(error).__module__.split(".")[:2])
    return package.startswith("torch._") and package != "torch._C"
