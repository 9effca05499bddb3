"""Modes that see every operator torch dispatches."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from torch.overrides import TorchFunctionMode

from dsft.compat.lookup import lookup

_MODULE = "torch.utils._python_dispatch"


def each_result(record: Callable[[Any], None]) -> AbstractContextManager[Any]:
    """Call a function with the result of every operator that runs inside the block.

    Without torch's dispatch modes, the results of the public functions are reported instead. Those do not include
    what a composite function computes on the way to its result.

    Args:
        record: Is called with each result: a tensor, or a container of tensors and other values.
    """
    base = lookup(_MODULE, "TorchDispatchMode")
    return _function_mode(record) if base is None else _dispatch_mode(base, record)


def is_in_dispatch_mode() -> bool:
    """Whether a dispatch mode is active, such as a FLOP counter; True if torch does not tell."""
    own = lookup(_MODULE, "is_in_torch_dispatch_mode")
    return True if own is None else bool(own())


def _dispatch_mode(base: Any, record: Callable[[Any], None]) -> AbstractContextManager[Any]:
    class EachResult(base):  # type: ignore[misc] # the class is looked up when it runs
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            record(result)
            return result

    mode: AbstractContextManager[Any] = EachResult()
    return mode


def _function_mode(record: Callable[[Any], None]) -> AbstractContextManager[Any]:
    class EachResult(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            record(result)
            return result

    return EachResult()
