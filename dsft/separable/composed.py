"""The dense kernel composed of factors, which is read-only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from dsft.compat.torch_storage import storage_id

COMPOSED_WEIGHT = (
    "the weight of a converted layer is composed of those of its convolutions, so it cannot be changed in place, and "
    "what is assigned must be the weight times one factor for each output channel, as fusers of batch norms do. Change "
    "its convolutions, or set the dense weight before the conversion."
)


class ComposedKernel(Tensor):
    """A kernel computed from factors: readable and differentiable, but protected from in-place changes."""

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Reject operations that write into the kernel; views are protected as well, other results are plain tensors.

        Raises:
            RuntimeError: The function changes the kernel in place.
        """
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        target = args[0] if args else kwargs.get("tensor")
        if isinstance(kwargs.get("out"), cls) or (_WRITES.fullmatch(name) and isinstance(target, cls)):
            # Not a TypeError, on which torch's operators try the other operand.
            raise RuntimeError(COMPOSED_WEIGHT)
        # That of the plain tensor class: the inherited one would wrap results that are not views as well.
        result = Tensor.__torch_function__(func, (), args, kwargs)  # type: ignore[no-untyped-call]
        return result.as_subclass(cls) if isinstance(result, Tensor) and _is_view(result, target) else result


# Tensor methods that end in one underscore, augmented assignments, and setters of items and attributes.
_WRITES = re.compile(r".*[^_]_|__i(?!nvert__|ndex__|nt__)\w+__|__set(item)?__")


def _is_view(result: Tensor, target: object) -> bool:
    own = storage_id(result)
    return own is not None and isinstance(target, Tensor) and own == storage_id(target)
