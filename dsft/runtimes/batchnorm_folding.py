"""Folding batch normalisations into the convolutions before them, where nothing else sees what is between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from dsft.compat.torch_operators import OPERATOR, is_mutable

aten = torch.ops.aten

_TRANSPOSED = {aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input}
_CONVOLUTIONS = {
    aten.conv1d.default,
    aten.conv1d.padding,
    aten.conv2d.default,
    aten.conv2d.padding,
    aten.conv3d.default,
    aten.conv3d.padding,
    *_TRANSPOSED,
}
# Where each operator has its dimension, which must be that of the channels.
_BY_CHANNEL = {aten.cat.default: 1, aten.index_select.default: 1, aten.narrow.default: 1, aten.slice.Tensor: 1}


@dataclass(frozen=True)
class _Norm:
    """A batch normalisation in evaluation mode: ``y = scale * x + shift`` channel by channel, in float64."""

    node: Node
    scale: Tensor
    shift: Tensor


@dataclass(frozen=True)
class _Region:
    """What lies between a norm and the convolutions before it: sums, slices, gathers and concatenations of channels.

    Attributes:
        nodes: In the order in which they run.
        convolutions: Whose outputs go in.
        targets: For each output channel of each convolution the channel of the norm that it is added to.
        offset: What the norm is given where all convolutions give zero, ``(channels,)``, float64.
    """

    nodes: tuple[Node, ...]
    convolutions: tuple[Node, ...]
    targets: tuple[Tensor, ...]
    offset: Tensor


def fold_norms(graph: GraphModule) -> int:
    """Fold every batch normalisation of a traced network that can be, in place.

    Between the convolution and the norm may stand what a separable layer ends with: sums over the kernels of each
    output, whose maps are slices, gathers or passes of their own. The sole consumer is proven on the graph: every
    value in between is used in between and nowhere else.

    Args:
        graph: A traced network in evaluation mode, its weights as attributes.

    Returns:
        How many norms are gone.
    """
    count = 0
    for node in list(graph.graph.nodes):
        norm = _norm_of(graph, node)
        region = _region_before(graph, norm) if norm is not None else None
        if norm is not None and region is not None:
            _fold(graph, norm, region, count)
            count += 1
    _drop_unused(graph)
    graph.graph.lint()
    graph.recompile()
    return count


def _norm_of(graph: GraphModule, node: Node) -> _Norm | None:
    if node.target is not aten.batch_norm.default:
        return None
    _, weight, bias, mean, variance, is_training, _, epsilon, *_ = node.args
    values = [_constant(graph, each) for each in (weight, bias, mean, variance)]
    gain, beta, centre, spread = (None if value is None else value.detach().double() for value in values)
    if is_training or centre is None or spread is None:
        return None
    scale = (spread + epsilon).rsqrt() * (1.0 if gain is None else gain)  # type: ignore[operator]
    return _Norm(node, scale, (0.0 if beta is None else beta) - centre * scale)


def _region_before(graph: GraphModule, norm: _Norm) -> _Region | None:
    """Return what may be folded through, or None where something else sees it or it is no sum of channels."""
    start: Any = norm.node.args[0]
    between, convolutions, pending = set[Node](), set[Node](), [start]
    while pending:
        node = pending.pop()
        if node in between or node in convolutions or _constant(graph, node) is not None:
            continue
        if node.target in _CONVOLUTIONS and _constant(graph, node.args[1]) is not None:
            convolutions.add(node)
        elif _keeps_channels_apart(node):
            between.add(node)
            pending += node.all_input_nodes
        else:
            return None
    inside = {*between, norm.node}
    if not convolutions or any(user not in inside for node in {*between, *convolutions} for user in node.users):
        return None
    order = [node for node in graph.graph.nodes if node in between]
    return _solve(graph, start, order, [node for node in graph.graph.nodes if node in convolutions])


def _keeps_channels_apart(node: Node) -> bool:
    if node.target is aten.add.Tensor:
        return not node.kwargs
    if node.target not in _BY_CHANNEL or node.kwargs:
        return False
    place, rank = _BY_CHANNEL[node.target], node.meta["val"].dim()
    axis = node.args[place] if len(node.args) > place else 0
    rest = [] if node.target is aten.cat.default else node.args[2:]
    return axis in (1, 1 - rank) and all(isinstance(each, int | Node) for each in rest)


def _solve(graph: GraphModule, end: Node, nodes: Sequence[Node], convolutions: Sequence[Node]) -> _Region | None:
    """Find where each convolution's channels go, by running the region on one channel at a time."""
    widths = [node.meta["val"].shape[1] for node in convolutions]
    tail = (1,) * (end.meta["val"].dim() - 2)

    def run(inputs: Sequence[Tensor]) -> Tensor:
        values = {node: value.reshape(*value.shape, *tail) for node, value in zip(convolutions, inputs, strict=True)}
        for node in nodes:
            values[node] = node.target(*map_arg(node.args, lambda each: _value(graph, values, each)))  # type: ignore[operator]
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


def _value(graph: GraphModule, values: Mapping[Node, Tensor], node: Node) -> Any:
    if node in values:
        return values[node]
    constant = _constant(graph, node)
    assert constant is not None  # noqa: S101 (the walk that found the region checked it)
    return constant.detach().double() if constant.is_floating_point() else constant


def _fold(graph: GraphModule, norm: _Norm, region: _Region, number: int) -> None:
    biases = [_constant(graph, node.args[2]) if len(node.args) > 2 else None for node in region.convolutions]
    shift = norm.shift + norm.scale * region.offset
    for bias, targets in zip(biases, region.targets, strict=True):
        if bias is not None:
            shift = shift.index_add(0, targets, norm.scale[targets] * bias.detach().double())
    # Of the maps that are added to a channel, the first one brings its bias.
    missing = torch.ones(len(shift), dtype=torch.bool)
    for place, (node, targets) in enumerate(zip(region.convolutions, region.targets, strict=True)):
        carried = torch.zeros(len(targets), dtype=torch.float64)
        for row, target in enumerate(targets.tolist()):
            if missing[target]:
                carried[row], missing[target] = shift[target], False
        _set_weights(graph, node, norm.scale[targets], carried, f"folded_{number}_{place}")
    for node in region.nodes:
        parts = [each for each in node.args if isinstance(each, Node) and _constant(graph, each) is None]
        if node.target is aten.add.Tensor and len(parts) == 1:
            node.replace_all_uses_with(parts[0])  # its constant is in the bias now
    norm.node.replace_all_uses_with(norm.node.args[0])  # type: ignore[arg-type]


def _set_weights(graph: GraphModule, node: Node, scale: Tensor, bias: Tensor, name: str) -> None:
    weight = _constant(graph, node.args[1])
    assert weight is not None  # noqa: S101 (a convolution of a region has one)
    groups = node.args[6] if len(node.args) > 6 else 1
    if node.target in _TRANSPOSED:
        # Its kernel is kept as (in_channels, out_channels / groups, *kernel_size).
        wide = weight.detach().double().reshape(groups, -1, *weight.shape[1:])  # type: ignore[arg-type]
        scaled = (wide * scale.reshape(groups, 1, -1, *(1,) * (weight.dim() - 2))).reshape(weight.shape)  # type: ignore[arg-type]
    else:
        scaled = weight.detach().double() * scale.reshape(-1, *(1,) * (weight.dim() - 1))
    attributes = []
    for suffix, value in (("weight", scaled), ("bias", bias)):
        graph.register_buffer(f"{name}_{suffix}", value.to(weight.dtype))
        with graph.graph.inserting_before(node):
            attributes.append(graph.graph.get_attr(f"{name}_{suffix}"))
    node.args = (node.args[0], *attributes, *node.args[3:])


def _constant(graph: GraphModule, node: Any) -> Tensor | None:
    """Return what a node computes from weights alone, or None."""
    if not isinstance(node, Node):
        return None
    if node.op == "get_attr":
        value: Any = graph
        for part in str(node.target).split("."):
            value = getattr(value, part)
        return value if isinstance(value, Tensor) else None
    if not _is_pure(node) or not node.all_input_nodes:
        return None
    inputs = {each: _constant(graph, each) for each in node.all_input_nodes}
    if any(value is None for value in inputs.values()):
        return None
    with torch.no_grad():
        value = node.target(*map_arg(node.args, inputs.__getitem__), **map_arg(node.kwargs, inputs.__getitem__))  # type: ignore[operator]
    return value if isinstance(value, Tensor) else None


def _is_pure(node: Node) -> bool:
    return node.op == "call_function" and isinstance(node.target, OPERATOR) and not is_mutable(node.target)


def _drop_unused(graph: GraphModule) -> None:
    for node in reversed(list(graph.graph.nodes)):
        if not node.users and (node.op == "get_attr" or _is_pure(node)):
            graph.graph.erase_node(node)
