"""Equal ranges for the channels of a feature map that int8 rounds to one grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Interpreter, Node

from dsft.runtimes.convolution_nodes import CONVOLUTIONS, scale_inputs, scale_outputs
from dsft.runtimes.tracing import graph_of

_LARGEST_FACTOR = 1e3
"""Channels that are always close to zero are not scaled further."""


@contextmanager
def equalized_channels(program: ExportedProgram, images: Sequence[Tensor]) -> Iterator[None]:
    """Scale the channels between two convolutions to equal ranges inside the block.

    Where a convolution has no other input than the output of another one, as inside separable layers, nothing
    non-linear stands between them: a channel can be scaled by one and scaled back by the other, and the network
    computes the same (Nagel et al. 2019, arXiv:1906.04721, section 4.1, for the ranges of weights; here it is those of
    the feature map, since weights have a scale for each channel anyway). Each channel then uses all of the eight bits.

    Args:
        program: A traced network; its weights are replaced inside the block, and are the same again after it.
        images: Inputs that the ranges are measured on.
    """
    replaced = _equalized_weights(program, images)
    before = {name: program.state_dict[name] for name in replaced}
    program.state_dict.update(replaced)
    try:
        yield
    finally:
        program.state_dict.update(before)


@torch.no_grad()
def _equalized_weights(program: ExportedProgram, images: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the weights that change, by name."""
    graph, state = graph_of(program), dict(program.state_dict)
    pairs = _pairs(graph, state)
    ranges = _Ranges(graph, {first for first, _ in pairs})
    for image in images if pairs else ():
        ranges.run(image)
    for first, second in pairs:
        largest = ranges.largest[first]
        if not bool(largest.isfinite().all()) or float(largest.max()) == 0:
            continue
        factors = largest.max() / largest.clamp_min(largest.max() / _LARGEST_FACTOR)
        weight, bias = _weights(first)
        state[weight] = scale_outputs(first, state[weight], factors)
        if bias is not None:
            state[bias] = state[bias] * factors
        behind, _ = _weights(second)
        state[behind] = scale_inputs(second, state[behind], 1 / factors)
    changed = {name: value for name, value in state.items() if value is not program.state_dict[name]}
    return {name: _like(program.state_dict[name], value) for name, value in changed.items()}


def _like(old: Tensor, value: Tensor) -> Tensor:
    # torch's programs insist on the class.
    return nn.Parameter(value, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else value


def _pairs(graph: GraphModule, state: Collection[str]) -> list[tuple[Node, Node]]:
    """Return the convolutions whose output is the input of one other convolution and has no other user.

    Both must have weights of their own: those of a layer that runs twice belong to two pairs.
    """
    nodes = list(graph.graph.nodes)
    reads = Counter(str(node.target) for node in nodes if node.op == "get_attr" for _ in node.users)

    def has_own_weights(node: Node) -> bool:
        arguments = [each for each in node.args[1:3] if each is not None]
        return all(
            isinstance(each, Node)
            and each.op == "get_attr"
            and str(each.target) in state
            and reads[str(each.target)] == 1
            for each in arguments
        )

    convolutions = [node for node in nodes if node.target in CONVOLUTIONS and has_own_weights(node)]
    followed = [(node, next(iter(node.users))) for node in convolutions if len(node.users) == 1]
    return [(node, user) for node, user in followed if user in convolutions and user.args[0] is node]


def _weights(node: Node) -> tuple[str, str | None]:
    """Return the names of the weight and of the bias of a convolution; None without a bias."""
    weight, bias = (node.args[place] if len(node.args) > place else None for place in (1, 2))
    return str(weight.target), None if bias is None else str(bias.target)  # type: ignore[union-attr]


class _Ranges(Interpreter):
    """Runs a graph, and keeps the largest absolute value in each channel of some nodes' outputs."""

    def __init__(self, graph: GraphModule, nodes: set[Node]) -> None:
        super().__init__(graph)
        self.largest: dict[Node, Tensor] = {}
        self._nodes = nodes

    def run_node(self, n: Node) -> Any:
        """Run a node; see ``torch.fx.Interpreter``."""
        output = super().run_node(n)
        if n in self._nodes:
            found = output.abs().amax((0, *range(2, output.dim())))
            self.largest[n] = torch.maximum(self.largest[n], found) if n in self.largest else found
        return output
