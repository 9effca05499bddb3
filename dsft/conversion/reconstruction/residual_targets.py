"""Where a convolution's output goes: through a norm, into a sum with a shortcut, into a ReLU."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from dsft.compat.torch_pytree import tree_leaves

SUMS = {"add", "add_", "__add__", "__iadd__", "__radd__"}
RELUS = (functional.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)
_BATCH_NORM = inspect.signature(functional.batch_norm)


@dataclass(frozen=True)
class Outlet:
    """What is done to the output of a convolution up to the first thing that is no norm, no sum and no ReLU.

    Attributes:
        scale: Factor of each output channel, that of a norm with fixed statistics, ``(channels,)``; None for 1.
        shift: What the norm adds after it, ``(channels,)``; None for 0.
        summand: What was taken of the tensor that it is added to; None where it goes into no sum.
        is_rectified: A ReLU comes last, so that of negative values only the sign matters.
    """

    scale: Tensor | None = None
    shift: Tensor | None = None
    summand: Tensor | None = None
    is_rectified: bool = False


@dataclass(frozen=True)
class _Trail:
    """A tensor that is a convolution's output, its norm or its sum; it is held, so that no other gets its id."""

    layer: nn.Module
    tensor: Tensor
    outlet: Outlet


class OutletWatch(TorchFunctionMode):
    """Follows the outputs of layers through a forward pass in evaluation mode.

    Only norms with fixed statistics are followed, since only these are a factor and a shift of each channel: then a
    sum with a shortcut tells what the convolution's output should have been for the sum to be what it should be.

    Args:
        take: Is called with a layer and the tensor of equal shape that its output is about to be added to, and returns
            what is to be kept of it.
        reached: Is called with a layer and its outlet when its trail ends.
    """

    def __init__(
        self, take: Callable[[nn.Module, Tensor], Tensor], reached: Callable[[nn.Module, Outlet], None]
    ) -> None:
        super().__init__()
        self._take, self._reached = take, reached
        self._trails: dict[int, _Trail] = {}

    def follow(self, layer: nn.Module, output: Tensor) -> None:
        """Begin a trail at the output of a layer."""
        self._trails[id(output)] = _Trail(layer, output, Outlet())

    def finish(self) -> None:
        """End the trails that nothing has read, at the end of the forward pass."""
        trails = list(self._trails.values())
        self._trails.clear()
        for trail in trails:
            self._reached(trail.layer, trail.outlet)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if not self._trails:
            return func(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        read = [trail for trail in (self._trails.get(id(tensor)) for tensor in tensors) if trail is not None]
        if not read:
            return func(*args, **kwargs)
        # Before the operation, which may write into one of its inputs.
        steps = [self._step(trail, func, tensors, args, kwargs) for trail in read]
        output = func(*args, **kwargs)
        # Shapes, formats and devices may be read by anything; they are no tensors.
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(output)):
            for trail, outlet in zip(read, steps, strict=True):
                self._advance(trail, outlet, output)
        return output

    def _step(
        self, trail: _Trail, func: Callable[..., Any], tensors: Sequence[Tensor], args: Any, kwargs: Any
    ) -> Outlet | None:
        """Return the outlet with the operation in it, or None where the operation ends the trail."""
        outlet, is_first = trail.outlet, tensors[0] is trail.tensor
        if func is functional.batch_norm and is_first and outlet.summand is None:
            return _normed(outlet, args, kwargs)
        if outlet.summand is None and _is_sum(func, tensors, kwargs):
            others = [tensor for tensor in tensors if tensor is not trail.tensor]
            return replace(outlet, summand=self._take(trail.layer, others[0])) if others else None
        return replace(outlet, is_rectified=True) if func in RELUS else None

    def _advance(self, trail: _Trail, outlet: Outlet | None, output: Any) -> None:
        if self._trails.pop(id(trail.tensor), None) is None:
            return
        # Of two convolutions that are added the second alone is followed further.
        if outlet is None or outlet.is_rectified or id(output) in self._trails:
            self._reached(trail.layer, outlet or trail.outlet)
        else:
            self._trails[id(output)] = _Trail(trail.layer, output, outlet)


def _normed(outlet: Outlet, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Outlet | None:
    """Return the outlet behind a batch norm, or None where its statistics are not fixed."""
    given = _BATCH_NORM.bind(*args, **kwargs)
    given.apply_defaults()
    values = given.arguments
    if values["training"] or values["running_var"] is None or outlet.scale is not None:
        return None
    scale: Tensor = torch.rsqrt(values["running_var"] + values["eps"])
    scale = scale if values["weight"] is None else scale * values["weight"]
    shift = -values["running_mean"] * scale
    return replace(outlet, scale=scale, shift=shift if values["bias"] is None else shift + values["bias"])


def _is_sum(func: Callable[..., Any], tensors: Sequence[Tensor], kwargs: Mapping[str, Any]) -> bool:
    """Whether the operation adds two tensors of equal shape."""
    is_addition = getattr(func, "__name__", "") in SUMS and kwargs.get("alpha", 1) == 1
    return is_addition and len(tensors) == 2 and tensors[0].shape == tensors[1].shape
