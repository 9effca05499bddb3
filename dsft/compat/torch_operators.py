"""The operators that the nodes of an exported graph call."""

from __future__ import annotations

from typing import Any

import torch

OPERATOR: type[Any] = type(torch.ops.aten.add.Tensor)
"""Class of one overload of an operator, such as ``aten.add.Tensor``."""


def is_mutable(operator: Any) -> bool:
    """Whether an operator writes into one of its arguments.

    The operator's schema tells it, or else its name: those that write end in an underscore, or have the overload
    ``out``.
    """
    schema = getattr(operator, "_schema", None)
    if schema is not None:
        return bool(schema.is_mutable)
    name, _, overload = str(operator.name()).partition(".")
    return name.endswith("_") or overload == "out"
