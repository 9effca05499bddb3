"""Nested containers of tensors: their leaves, and a function applied to each leaf."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dsft.compat.lookup import lookup

_MODULE = "torch.utils._pytree"


def tree_leaves(tree: Any) -> list[Any]:
    """Return the leaves of nested tuples, lists, mappings and registered containers, in order."""
    own = lookup(_MODULE, "tree_leaves")
    return own(tree) if own is not None else _leaves(tree)


def tree_map(function: Callable[[Any], Any], tree: Any) -> Any:
    """Return the same structure with a function applied to each leaf."""
    own = lookup(_MODULE, "tree_map")
    return own(function, tree) if own is not None else _map(function, tree)


def _leaves(tree: Any) -> list[Any]:
    if isinstance(tree, Mapping):
        return [leaf for part in tree.values() for leaf in _leaves(part)]
    if isinstance(tree, list | tuple):
        return [leaf for part in tree for leaf in _leaves(part)]
    return [tree]


def _map(function: Callable[[Any], Any], tree: Any) -> Any:
    if isinstance(tree, Mapping):
        mapped = {key: _map(function, part) for key, part in tree.items()}
        return mapped if type(tree) is dict else type(tree)(mapped)  # type: ignore[call-arg]
    if isinstance(tree, list | tuple):
        parts = [_map(function, part) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return function(tree)
