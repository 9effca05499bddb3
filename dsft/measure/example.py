"""Run a module on an example input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from dsft.compat.torch_pytree import tree_map
from dsft.errors import ModelError

ExampleInput: TypeAlias = Tensor | Sequence["ExampleArgument"] | Mapping[str, "ExampleArgument"]
"""What a module is called with: a tensor or a list as the only argument, a tuple of positional arguments, or a dict of
keyword arguments."""

ExampleArgument: TypeAlias = ExampleInput | float | str | None
"""One argument of a module, or a part of it."""


def run_example(module: nn.Module, example_input: ExampleInput) -> Any:
    """Run a module once in evaluation mode without gradients, and restore its modes.

    Args:
        module: Any module.
        example_input: A tensor, or a list of tensors as detection models take it, is the only argument; a tuple holds
            positional arguments, a dict keyword arguments.

    Returns:
        What the module returns.
    """
    with evaluation_mode(module), torch.no_grad():
        return call(module, example_input)


def call(module: nn.Module, example_input: ExampleInput) -> Any:
    """Call a module in its current mode with an example input."""
    if isinstance(example_input, tuple):
        return module(*example_input)
    if isinstance(example_input, Mapping):
        return module(**example_input)
    return module(example_input)


def with_raw_outputs(module: nn.Module) -> nn.Module:
    """Return a view of a detector whose outputs do not depend on which boxes are selected; others unchanged.

    A network offers it as the method ``raw_view``, see :class:`dsft.models.Detector`.
    """
    view: nn.Module = module.raw_view() if hasattr(module, "raw_view") else module  # type: ignore[operator]
    return view


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put every submodule into evaluation mode, and restore the mode of each at the end."""
    modes = [(submodule, submodule.training) for submodule in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for submodule, was_training in modes:
            submodule.training = was_training


def with_batch_size(example_input: ExampleInput, size: int | None) -> ExampleInput:
    """Return an example input with the first image repeated to a batch of this size; None returns it unchanged.

    Tensors whose first size is not that of the batch are left as they are, and so is all else.
    """
    if size is None or size == (found := batch_size_of(example_input)):
        return example_input
    if isinstance(example_input, list):
        return [example_input[0]] * size

    def repeat(leaf: Any) -> Any:
        is_batch = isinstance(leaf, Tensor) and leaf.dim() > 0 and len(leaf) == found
        return leaf[:1].repeat(size, *(1,) * (leaf.dim() - 1)) if is_batch else leaf

    repeated: ExampleInput = tree_map(repeat, example_input)
    return repeated


def batch_size_of(example_input: ExampleInput) -> int:
    """Return the number of images in an example input: the length of a list, or the first size of the first tensor.

    Raises:
        ModelError: It holds no tensor with a batch dimension, or no image.
    """
    size = _size_of(example_input)
    if size is None:
        raise ModelError(f"example_input: expected a tensor in it, found {type(example_input).__name__}.")
    if not size:
        raise ModelError("example_input: expected at least one input, found an empty batch.")
    return size


def _size_of(example_input: ExampleArgument) -> int | None:
    if isinstance(example_input, list):
        return len(example_input)
    if isinstance(example_input, Tensor):
        return int(example_input.shape[0]) if example_input.dim() else None
    if not isinstance(example_input, tuple | Mapping):
        return None
    parts = example_input.values() if isinstance(example_input, Mapping) else example_input
    return next((_size_of(part) for part in parts if isinstance(part, Tensor | list)), None)
