"""Fold batch norms into the convolutions before them if no other node uses the values in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from dsft.compat.torch_operators import OPERATOR, is_mutable
from dsft.runtimes.convolution_nodes import CONVOLUTIONS, scale_outputs

aten = torch.ops.aten

# Position of the argument that names the dimension, which must be that of the channels.
_BY_CHANNEL = {aten.cat.default: 1, aten.index_select.default: 1, aten.narrow.default: 1, aten.slice.Tensor: 1}


@dataclass(frozen=True)
class _Norm:
    """A batch norm in evaluation mode: ``y = scale * x + shift`` for each channel, in float64."""

    node: Node
    scale: Tensor
    shift: Tensor


@dataclass(frozen=True)
class _Region:
    """The nodes between a norm and the convolutions before it: sums, slices, gathers and concatenations of channels.

    Attributes:
        nodes: The nodes, in execution order.
        convolutions: The convolutions whose outputs they use.
        targets: For each output channel of each convolution, the channel of the norm that it is added to.
        offset: Input of the norm where all convolutions return zero, ``(channels,)``, float64.
    """

    nodes: tuple[Node, ...]
    convolutions: tuple[Node, ...]
    targets: tuple[Tensor, ...]
    offset: Tensor


def fold_norms(graph: GraphModule) -> int:
    """Fold the batch norms of a traced network into the convolutions before them, in place, where possible.

    Sums over the kernels of each output channel, slices and gathers may stand between a convolution and a norm, since
    separable layers end with them. A norm is folded only if every value in between has no other user in the graph.

    Args:
        graph: A traced network in evaluation mode, its weights as attributes.

    Returns:
        Number of folded norms.
    """
    constants = _Constants(graph)
    count = 0
    for node in list(graph.graph.nodes):
        norm = _norm_of(constants, node)
        region = _region_before(constants, norm) if norm is not None else None
        if norm is not None and region is not None:
            _fold(constants, norm, region, count)
            count += 1
    _drop_unused(graph)
    graph.graph.lint()
    graph.recompile()
    return count


class _Constants:
    """The values of a graph that depend on weights alone.

    They are computed in one pass in execution order. A recursion over the inputs of each node would visit a node once
    per path to it, and the number of paths doubles with each residual block.

    Args:
        graph: A traced network.
    """

    def __init__(self, graph: GraphModule) -> None:
        self.graph = graph
        self._values: dict[Node, Tensor | None] = {}
        for node in graph.graph.nodes:
            self._values[node] = self._compute(node)

    def get(self, node: Any) -> Tensor | None:
        """Return the value of a node, or None if it depends on the input, or is no node."""
        return self._values[node] if isinstance(node, Node) else None

    def add_attribute(self, name: str, value: Tensor, before: Node) -> Node:
        """Store a tensor in the graph, and return the node that reads it."""
        self.graph.register_buffer(name, value)
        with self.graph.graph.inserting_before(before):
            node = self.graph.graph.get_attr(name)
        self._values[node] = value
        return node

    def _compute(self, node: Node) -> Tensor | None:
        value: Any = None
        if node.op == "get_attr":
            value = attrgetter(str(node.target))(self.graph)
        elif _is_pure(node) and node.all_input_nodes:
            inputs = {each: self._values[each] for each in node.all_input_nodes}
            if all(each is not None for each in inputs.values()):
                with torch.no_grad():
                    value = node.target(  # type: ignore[operator]
                        *map_arg(node.args, inputs.__getitem__), **map_arg(node.kwargs, inputs.__getitem__)
                    )
        return value if isinstance(value, Tensor) else None


def _norm_of(constants: _Constants, node: Node) -> _Norm | None:
    if node.target is not aten.batch_norm.default:
        return None
    _, weight, bias, mean, variance, is_training, _, epsilon, *_ = node.args
    values = [constants.get(each) for each in (weight, bias, mean, variance)]
    gain, beta, centre, spread = (None if value is None else value.detach().double() for value in values)
    if is_training or centre is None or spread is None:
        return None
    scale = (spread + epsilon).rsqrt() * (1.0 if gain is None else gain)  # type: ignore[operator]
    return _Norm(node, scale, (0.0 if beta is None else beta) - centre * scale)


def _region_before(constants: _Constants, norm: _Norm) -> _Region | None:
    """Return the nodes to fold through, or None if they have other users or do more than add and copy channels."""
    start: Any = norm.node.args[0]
    between, convolutions, pending = set[Node](), set[Node](), [start]
    while pending:
        node = pending.pop()
        if node in between or node in convolutions or constants.get(node) is not None:
            continue
        if node.target in CONVOLUTIONS and constants.get(node.args[1]) is not None:
            convolutions.add(node)
        elif _keeps_channels_apart(node):
            between.add(node)
            pending += node.all_input_nodes
        else:
            return None
    inside = {*between, norm.node}
    if not convolutions or any(user not in inside for node in {*between, *convolutions} for user in node.users):
        return None
    order = [node for node in constants.graph.graph.nodes if node in between]
    return _solve(constants, start, order, [node for node in constants.graph.graph.nodes if node in convolutions])


def _keeps_channels_apart(node: Node) -> bool:
    if node.target is aten.add.Tensor:
        return not node.kwargs
    if node.target not in _BY_CHANNEL or node.kwargs:
        return False
    place, rank = _BY_CHANNEL[node.target], node.meta["val"].dim()
    axis = node.args[place] if len(node.args) > place else 0
    rest = [] if node.target is aten.cat.default else node.args[2:]
    return axis in (1, 1 - rank) and all(isinstance(each, int | Node) for each in rest)


def _solve(constants: _Constants, end: Node, nodes: Sequence[Node], convolutions: Sequence[Node]) -> _Region | None:
    """Find the channel that each channel of each convolution is added to, by running the region on one at a time."""
    widths = [node.meta["val"].shape[1] for node in convolutions]
    tail = (1,) * (end.meta["val"].dim() - 2)

    def run(inputs: Sequence[Tensor]) -> Tensor:
        values = {node: value.reshape(*value.shape, *tail) for node, value in zip(convolutions, inputs, strict=True)}
        for node in nodes:
            values[node] = node.target(*map_arg(node.args, lambda each: _value(constants, values, each)))  # type: ignore[operator]
        return values[end]

    offset = run([torch.zeros(1, width, dtype=torch.float64) for width in widths])
    if any(size != 1 for size in offset.shape[2:]):
        return None
    targets = []
    for place, width in enumerate(widths):
        blocks = [torch.zeros(width, other, dtype=torch.float64) for other in widths]
        blocks[place] = torch.eye(width, dtype=torch.float64)
        reached = (run(blocks) - offset).flatten(1)
        if not torch.equal(reached.sort(dim=1).values[:, -1:], torch.ones(width, 1)) or reached.sum() != width:
            return None
        targets.append(reached.argmax(dim=1))
    if len(set(torch.cat(targets).tolist())) != offset.shape[1]:
        return None
    return _Region(tuple(nodes), tuple(convolutions), tuple(targets), offset.flatten())


def _value(constants: _Constants, values: Mapping[Node, Tensor], node: Node) -> Any:
    if node in values:
        return values[node]
    constant = constants.get(node)
    # The search for the region has checked that a node outside of it is a constant.
    return constant.detach().double() if constant is not None and constant.is_floating_point() else constant


def _fold(constants: _Constants, norm: _Norm, region: _Region, number: int) -> None:
    biases = [constants.get(node.args[2]) if len(node.args) > 2 else None for node in region.convolutions]
    shift = norm.shift + norm.scale * region.offset
    for bias, targets in zip(biases, region.targets, strict=True):
        if bias is not None:
            shift = shift.index_add(0, targets, norm.scale[targets] * bias.detach().double())
    # Of the feature maps that are added to one channel, the first one carries its bias.
    missing = torch.ones(len(shift), dtype=torch.bool)
    for place, (node, targets) in enumerate(zip(region.convolutions, region.targets, strict=True)):
        carried = torch.zeros(len(targets), dtype=torch.float64)
        for row, target in enumerate(targets.tolist()):
            if missing[target]:
                carried[row], missing[target] = shift[target], False
        _set_weights(constants, node, norm.scale[targets], carried, f"folded_{number}_{place}")
    for node in region.nodes:
        parts = [each for each in node.args if isinstance(each, Node) and constants.get(each) is None]
        if node.target is aten.add.Tensor and len(parts) == 1:
            node.replace_all_uses_with(parts[0])  # its constant is part of the bias now
    norm.node.replace_all_uses_with(norm.node.args[0])  # type: ignore[arg-type]


def _set_weights(constants: _Constants, node: Node, scale: Tensor, bias: Tensor, name: str) -> None:
    weight = constants.get(node.args[1])
    if weight is None:
        raise ValueError(f"node {node.name}: a convolution of a region needs a constant weight")
    scaled = scale_outputs(node, weight.detach().double(), scale)
    values = {f"{name}_weight": scaled.to(weight.dtype), f"{name}_bias": bias.to(weight.dtype)}
    attributes = [constants.add_attribute(key, value, node) for key, value in values.items()]
    node.args = (node.args[0], *attributes, *node.args[3:])


def _is_pure(node: Node) -> bool:
    return node.op == "call_function" and isinstance(node.target, OPERATOR) and not is_mutable(node.target)


def _drop_unused(graph: GraphModule) -> None:
    for node in reversed(list(graph.graph.nodes)):
        if not node.users and (node.op == "get_attr" or _is_pure(node)):
            graph.graph.erase_node(node)
