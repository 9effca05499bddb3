"""One forward pass under observation: which convolutions run, and which kernels something else reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from dsft.errors import DsftError, ModelError
from dsft.measure.example import ExampleInput, run_example

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Observed:
    """What happened in a forward pass.

    Attributes:
        calls: Shapes of the input and the output at each call of each convolution.
        read_outside: The convolutions whose kernel went into an operation outside their own pass.
    """

    calls: Mapping[_ConvNd, Sequence[tuple[Shape, Shape]]]
    read_outside: frozenset[_ConvNd]


def observe(model: nn.Module, convolutions: Sequence[_ConvNd], example_input: ExampleInput) -> Observed:
    """Run a network once in evaluation mode and watch its convolutions.

    Args:
        model: The network; it is left as it was.
        convolutions: Its convolutions.
        example_input: What it takes.

    Raises:
        ModelError: The network cannot run on it.
    """
    calls: dict[_ConvNd, list[tuple[Shape, Shape]]] = {module: [] for module in convolutions}
    running: list[_ConvNd] = []

    def begin(module: _ConvNd, _: tuple[Any, ...]) -> None:
        running.append(module)

    def end(module: _ConvNd, inputs: tuple[Any, ...], given: dict[str, Any], output: Tensor) -> None:
        running.pop()
        images = inputs[0] if inputs else given["input"]
        if images.dim() == len(module.kernel_size) + 1:
            raise ModelError(
                f"example_input: images need a batch dimension, found a convolution's input of shape "
                f"{tuple(images.shape)}. Give example_input.unsqueeze(0)."
            )
        calls[module].append((tuple(images.shape), tuple(output.shape)))

    # First of all hooks, since the older weight_norm computes the kernel in one.
    handles = [module.register_forward_pre_hook(begin, prepend=True) for module in convolutions]
    handles += [module.register_forward_hook(end, with_kwargs=True) for module in convolutions]
    try:
        with _KernelReads(convolutions, running) as reads:
            run_example(model, example_input)
    except (DsftError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever a network raises on an input that is not its own
        reason = next(iter(str(error).splitlines()), "")
        raise ModelError(
            f"example_input: the network's forward pass fails on it ({type(error).__name__}: {reason}). Give what the "
            f"network takes, in its number format and on its device."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return Observed(calls, frozenset(reads.outside))


class _KernelReads(TorchFunctionMode):
    """Notices operations that make a tensor of a convolution's kernel while the convolution is not running."""

    def __init__(self, convolutions: Iterable[_ConvNd], running: Sequence[_ConvNd]) -> None:
        super().__init__()
        self.outside: set[_ConvNd] = set()
        self._running = running
        # By memory, since a view that was taken once may be read again and again.
        self._owners = {
            _memory(parameter): module
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
            owners = {self._owners.get(_memory(tensor)) for tensor in tensors}
            self.outside |= {owner for owner in owners if owner is not None and owner not in self._running}
        return output


def _memory(tensor: Tensor) -> int:
    # The storage itself and not its address, which all storages without memory share.
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else 0
