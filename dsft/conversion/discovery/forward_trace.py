"""One forward pass under observation: which convolutions run, and which kernels something else reads."""

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
class Observed:
    """What happened in a forward pass.

    Attributes:
        calls: Shapes of the input and the output at each call of each convolution.
        read_outside: The convolutions whose kernel went into an operation outside their own pass.
    """

    calls: Mapping[Convolution, Sequence[tuple[Shape, Shape]]]
    read_outside: frozenset[Convolution]


def observe(model: nn.Module, convolutions: Sequence[Convolution], example_input: ExampleInput) -> Observed:
    """Run a network once in evaluation mode and watch its convolutions.

    Args:
        model: The network; it is left as it was.
        convolutions: Its convolutions.
        example_input: What it takes.

    Raises:
        ModelError: The network cannot run on it.
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

    def __init__(self, convolutions: Iterable[Convolution], running: Sequence[Convolution]) -> None:
        super().__init__()
        self.outside: set[Convolution] = set()
        self._running = running
        # By memory, since a view that was taken once may be read again and again.
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
