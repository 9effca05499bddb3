"""The feature maps at which a converted network is compared with the original, and their distance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dsft.compat.torch_pytree import tree_leaves

MOST_OUTPUTS = 16
"""Largest number of outputs that are compared besides those of the network; of more, evenly spaced ones are."""

MOST_IN_BLOCK = 4
"""A module with more converted layers is no block: the outputs of its layers are compared instead of its own."""


def block_names(layers: Sequence[str]) -> list[str]:
    """Return the names of the modules whose outputs are compared, in the order of the network's definition.

    They are the smallest modules around the converted layers, such as residual blocks, or the layers themselves where
    such a module is a stage or the whole network.

    Args:
        layers: Names of the converted layers.
    """
    parents = [name.rpartition(".")[0] for name in layers]
    sizes = {parent: sum(name.startswith(f"{parent}.") for name in layers) for parent in parents if parent}
    blocks = [
        parent if 0 < sizes.get(parent, 0) <= MOST_IN_BLOCK else name
        for name, parent in zip(layers, parents, strict=True)
    ]
    found = list(dict.fromkeys(blocks))
    if len(found) <= MOST_OUTPUTS:
        return found
    # The last one always, since it is nearest to the output.
    return [found[(place + 1) * len(found) // MOST_OUTPUTS - 1] for place in range(MOST_OUTPUTS)]


@contextmanager
def recorded_outputs(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Record the outputs of modules in a forward pass, by name; of several calls, the last.

    Only outputs that are single tensors are recorded. The module of the empty name is the network itself.
    """
    outputs: dict[str, Tensor] = {}

    def record(name: str, output: Any) -> None:
        if isinstance(output, Tensor) and output.is_floating_point():
            # A copy would cost as much as a layer; in-place activations change what was recorded in both networks.
            outputs[name] = output

    handles = [
        model.get_submodule(name).register_forward_hook(lambda _, __, output, name=name: record(name, output))
        for name in names
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def relative_distance(found: Tensor, expected: Tensor) -> Tensor:
    r"""Return :math:`|s - t|^2 / (N \mathrm{Var}\, t)`, 0 where the outputs of the original are constant."""
    expected = expected.detach().float()
    variance = expected.var(correction=0)
    distance = (found.float() - expected).square().mean()
    return torch.where(variance > 0, distance / variance.clamp_min(torch.finfo(variance.dtype).tiny), 0 * distance)


def output_distance(found: Any, expected: Any) -> float:
    """Return how far the outputs of a network are from those of the original.

    It is the mean of :func:`relative_distance` over all tensors; infinite where they cannot be compared.
    """
    pairs = list(zip(_floats(found), _floats(expected), strict=False))
    if not pairs or any(one.shape != other.shape for one, other in pairs):
        return float("inf")
    return sum(float(relative_distance(one, other)) for one, other in pairs) / len(pairs)


def _floats(outputs: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
