"""An example input: what a module is run with to learn its shapes and its cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dsft.errors import ModelError

ExampleInput = Any
"""A tensor, a tuple of positional arguments, a list that is one argument, or a dict of keyword arguments."""


def run_example(module: nn.Module, example_input: ExampleInput) -> Any:
    """Run ``module`` once in evaluation mode without gradients, and restore its modes.

    Args:
        module: Any module.
        example_input: A tensor, or a list of tensors as detection models take it, is the only argument; a
            tuple holds positional arguments, a dict keyword arguments.

    Returns:
        What the module returns.
    """
    with evaluation_mode(module), torch.no_grad():
        return call(module, example_input)


def call(module: nn.Module, example_input: ExampleInput) -> Any:
    """Call ``module`` as it is with an example input."""
    if isinstance(example_input, tuple):
        return module(*example_input)
    if isinstance(example_input, Mapping):
        return module(**example_input)
    return module(example_input)


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put every submodule into evaluation mode, and each back into its own mode at the end."""
    modes = [(submodule, submodule.training) for submodule in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for submodule, was_training in modes:
            submodule.training = was_training


def batch_size_of(example_input: ExampleInput) -> int:
    """Return the number of images in an example input: a list's length, or the first tensor's first size.

    Raises:
        ModelError: There is no tensor in it, or no image.
    """
    size = _size_of(example_input)
    if size is None:
        raise ModelError(f"example_input: a tensor is needed in it, found {type(example_input).__name__}.")
    if not size:
        raise ModelError("example_input: at least one image is needed, found 0.")
    return size


def _size_of(example_input: ExampleInput) -> int | None:
    if isinstance(example_input, list):
        return len(example_input)
    if isinstance(example_input, Tensor):
        return int(example_input.shape[0]) if example_input.dim() else None
    parts = example_input.values() if isinstance(example_input, Mapping) else example_input
    return next((_size_of(part) for part in parts if isinstance(part, Tensor | list)), None)
