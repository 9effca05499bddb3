"""The batch normalisation, residual sum and ReLU that follow a convolution, found by tracing a forward pass."""

from __future__ import annotations

import inspect
import weakref
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
class Epilogue:
    """The operations on the output of a convolution, up to the first that is no batch norm, sum or ReLU.

    Attributes:
        scale: Factor of each output channel by a batch norm with fixed statistics, ``(channels,)``; None for 1.
        shift: What the batch norm adds after it, ``(channels,)``; None for 0.
        summand: What ``record_summand`` returned for the other operand of the sum; None without a sum.
        is_rectified: Whether a ReLU comes last, so that only the sign of negative values matters.
    """

    scale: Tensor | None = None
    shift: Tensor | None = None
    summand: Tensor | None = None
    is_rectified: bool = False


@dataclass(frozen=True)
class _Traced:
    """A tensor on the way from a convolution. The reference keeps its id from being used again."""

    layer: nn.Module
    tensor: Tensor
    epilogue: Epilogue


class EpilogueTracer(TorchFunctionMode):
    """Follows the outputs of layers through a forward pass in evaluation mode.

    Only batch norms with fixed statistics are followed, since these are an affine map of each channel: then the other
    operand of a sum tells which output of the convolution makes the sum correct.

    An output that is read again after the operation that followed it, such as one that goes both into a ReLU and into
    a shortcut, has no epilogue: nothing that only one of the readers does may be assumed. An in-place operation
    changes what all readers see, so that it does not count as one of several.

    Args:
        record_summand: Is called with a layer and the tensor of equal shape that its output is about to be added to;
            returns what the epilogue keeps of it.
        on_end: Is called with a layer and its epilogue at the first operation that is not part of it. It is called
            again, with an empty epilogue, if the output turns out to have several readers.
    """

    def __init__(
        self, record_summand: Callable[[nn.Module, Tensor], Tensor], on_end: Callable[[nn.Module, Epilogue], None]
    ) -> None:
        super().__init__()
        self._record_summand, self._on_end = record_summand, on_end
        self._traced: dict[int, _Traced] = {}
        # Not kept alive, which would hold the maps of the whole network; the id of a freed one may be used again.
        self._consumed: dict[int, tuple[weakref.ref[Tensor], nn.Module]] = {}

    def follow(self, layer: nn.Module, output: Tensor) -> None:
        """Start to follow the output of a layer."""
        self._traced[id(output)] = _Traced(layer, output, Epilogue())

    def finish(self) -> None:
        """Report the outputs that nothing has read by the end of the forward pass."""
        remaining = list(self._traced.values())
        self._traced.clear()
        self._consumed.clear()
        for traced in remaining:
            self._on_end(traced.layer, traced.epilogue)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if not self._traced and not self._consumed:
            return func(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        read = [traced for traced in (self._traced.get(id(tensor)) for tensor in tensors) if traced is not None]
        again = {layer for tensor in tensors for layer in self._consumed_from(tensor)}
        if not read and not again:
            return func(*args, **kwargs)
        # Before the operation, which may write into one of its inputs.
        steps = [self._step(traced, func, tensors, args, kwargs) for traced in read]
        output = func(*args, **kwargs)
        # Shapes, dtypes and devices may be read by anything; they are no tensors.
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(output)):
            for traced, epilogue in zip(read, steps, strict=True):
                self._advance(traced, epilogue, output)
            for layer in again:
                self._drop(layer)
        return output

    def _step(
        self, traced: _Traced, func: Callable[..., Any], tensors: Sequence[Tensor], args: Any, kwargs: Any
    ) -> Epilogue | None:
        """Return the epilogue extended by the operation, or None if the operation ends it."""
        epilogue, is_first = traced.epilogue, tensors[0] is traced.tensor
        if func is functional.batch_norm and is_first and epilogue.summand is None:
            return _normalized(epilogue, args, kwargs)
        if epilogue.summand is None and _is_sum(func, tensors, kwargs):
            others = [tensor for tensor in tensors if tensor is not traced.tensor]
            return replace(epilogue, summand=self._record_summand(traced.layer, others[0])) if others else None
        return replace(epilogue, is_rectified=True) if func in RELUS else None

    def _advance(self, traced: _Traced, epilogue: Epilogue | None, output: Any) -> None:
        if self._traced.pop(id(traced.tensor), None) is None:
            return
        if output is not traced.tensor:
            self._consumed[id(traced.tensor)] = (weakref.ref(traced.tensor), traced.layer)
        # Both of two convolutions whose outputs are added are fitted to the sum; the first operand is followed further.
        if epilogue is None or epilogue.is_rectified or id(output) in self._traced:
            self._on_end(traced.layer, epilogue or traced.epilogue)
        else:
            self._traced[id(output)] = _Traced(traced.layer, output, epilogue)

    def _consumed_from(self, tensor: Tensor) -> list[nn.Module]:
        found = self._consumed.get(id(tensor))
        return [found[1]] if found is not None and found[0]() is tensor else []

    def _drop(self, layer: nn.Module) -> None:
        """Report that an output has several readers."""
        self._consumed = {key: entry for key, entry in self._consumed.items() if entry[1] is not layer}
        self._traced = {key: traced for key, traced in self._traced.items() if traced.layer is not layer}
        self._on_end(layer, Epilogue())


def _normalized(epilogue: Epilogue, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Epilogue | None:
    """Return the epilogue after a batch norm, or None if its statistics are not fixed."""
    given = _BATCH_NORM.bind(*args, **kwargs)
    given.apply_defaults()
    values = given.arguments
    if values["training"] or values["running_var"] is None or epilogue.scale is not None:
        return None
    scale: Tensor = torch.rsqrt(values["running_var"] + values["eps"])
    scale = scale if values["weight"] is None else scale * values["weight"]
    shift = -values["running_mean"] * scale
    return replace(epilogue, scale=scale, shift=shift if values["bias"] is None else shift + values["bias"])


def _is_sum(func: Callable[..., Any], tensors: Sequence[Tensor], kwargs: Mapping[str, Any]) -> bool:
    """Whether the operation adds two tensors of equal shape."""
    is_addition = getattr(func, "__name__", "") in SUMS and kwargs.get("alpha", 1) == 1
    return is_addition and len(tensors) == 2 and tensors[0].shape == tensors[1].shape
