"""Several modules as one, so that a runtime's converter is called once for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dsft.compat.torch_pytree import tree_leaves, tree_map
from dsft.measure.example import ExampleInput, call


class SideBySide(nn.Module):
    """Several modules, each with its own input; returns the tensors in the output of each.

    Args:
        modules: The modules.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)

    def forward(self, examples: list[ExampleInput]) -> list[list[Tensor]]:
        """Return the tensors in the output of each module on its example."""
        outputs = [call(part, example) for part, example in zip(self.parts, examples, strict=True)]
        return [tensors_of(output) for output in outputs]


def own_copies(example_inputs: Sequence[ExampleInput]) -> list[ExampleInput]:
    """Return contiguous copies: two inputs that are the same tensor would become one input of the traced graph."""
    return [tree_map(_contiguous_copy, example) for example in example_inputs]


def tensors_of(values: Any) -> list[Tensor]:
    """Return the tensors in nested containers, in order."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def divide(names: Sequence[Any], counts: Sequence[int]) -> Iterator[list[Any]]:
    """Yield the inputs or outputs of each module, given how many each has."""
    rest = iter(names)
    for count in counts:
        yield [next(rest) for _ in range(count)]


def _contiguous_copy(leaf: Any) -> Any:
    return leaf.detach().clone(memory_format=torch.contiguous_format) if isinstance(leaf, Tensor) else leaf
