"""The dense kernel that two factors stand for: to be read, never to be written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

COMPOSED_WEIGHT = (
    "the weight of a depthwise-separable layer is composed of depthwise.weight and pointwise.weight: it "
    "cannot be assigned or changed in place. Change those two, or set the dense weight before the conversion."
)


class ComposedKernel(Tensor):
    """A kernel computed from two factors: readable and differentiable, but closed to in-place changes."""

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Refuse what writes into the kernel, and guard its views alike; anything else is a plain tensor.

        Raises:
            TypeError: The function changes the kernel in place.
        """
        name = getattr(func, "__name__", "")
        writes = name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
        if writes and args and isinstance(args[0], cls):
            raise TypeError(COMPOSED_WEIGHT)
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **(kwargs or {}))
        is_view = name in ("detach", "__get__") and isinstance(result, Tensor)
        return result.as_subclass(cls) if is_view else result
