"""Trace of one forward pass: which convolutions run, and which kernels are read by other operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dsft.compat.torch_convolution import Convolution
from dsft.compat.torch_pytree import tree_leaves
from dsft.compat.torch_storage import storage_id
from dsft.errors import DsftError, ModelError
from dsft.measure.example import ExampleInput, run_example

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ForwardTrace:
    """A record of one forward pass.

    Attributes:
        calls: Shapes of the input and the output at each call of each convolution.
        read_outside: The convolutions whose kernel is the input of an operation outside their own forward pass.
    """

    calls: Mapping[Convolution, Sequence[tuple[Shape, Shape]]]
    read_outside: frozenset[Convolution]


def trace_forward(model: nn.Module, convolutions: Sequence[Convolution], example_input: ExampleInput) -> ForwardTrace:
    """Run a network once in evaluation mode and record what its convolutions do.

    Args:
        model: The network; it is not changed.
        convolutions: Its convolutions.
        example_input: Its input.

    Raises:
        ModelError: The network cannot run on ``example_input``.
    """
    calls: dict[Convolution, list[tuple[Shape, Shape]]] = {module: [] for module in convolutions}
    running: list[Convolution] = []

    def begin(module: Convolution, _: tuple[Any, ...]) -> None:
        running.append(module)

    def end(module: Convolution, inputs: tuple[Any, ...], given: dict[str, Any], output: Tensor) -> None:
        running.pop()
        images = inputs[0] if inputs else given["input"]
        if images.dim() == len(module.kernel_size) + 1:
            raise ModelError(
                f"example_input: needs a batch dimension, found a convolution's input of shape "
                f"{tuple(images.shape)}. Pass example_input.unsqueeze(0)."
            )
        calls[module].append((tuple(images.shape), tuple(output.shape)))

    # Before all other hooks, since the older weight_norm computes the kernel in one.
    handles = [module.register_forward_pre_hook(begin, prepend=True) for module in convolutions]
    handles += [module.register_forward_hook(end, with_kwargs=True) for module in convolutions]
    try:
        with _KernelReads(convolutions, running) as reads:
            run_example(model, example_input)
    except (DsftError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a network may raise anything on a wrong input
        reason = next(iter(str(error).splitlines()), "")
        raise ModelError(
            f"example_input: the network's forward pass fails on it ({type(error).__name__}: {reason}). Pass a valid "
            f"input of the network's dtype on its device."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return ForwardTrace(calls, frozenset(reads.outside))


class _KernelReads(TorchFunctionMode):
    """Records convolutions whose kernel an operation reads while the convolution is not running."""

    def __init__(self, convolutions: Iterable[Convolution], running: Sequence[Convolution]) -> None:
        super().__init__()
        self.outside: set[Convolution] = set()
        self._running = running
        # By storage, since a view of a kernel may be created once and read many times.
        self._owners = {
            storage_id(parameter): module
            for module in convolutions
            for name, parameter in module.named_parameters()
            if name != "bias"
        }

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        # Shapes, formats and devices may be read by anything; they are no tensors.
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(output)):
            tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            owners = {self._owners.get(storage_id(tensor)) for tensor in tensors}
            self.outside |= {owner for owner in owners if owner is not None and owner not in self._running}
        return output
