"""Look up a name that another library may rename or remove."""

from __future__ import annotations

import importlib
from typing import Any


def lookup(module: str, name: str) -> Any | None:
    """Return an attribute of a module, or None if the module or the attribute does not exist.

    Args:
        module: Dotted name of the module, such as ``"torch.utils._pytree"``.
        name: Name of the attribute.
    """
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None
