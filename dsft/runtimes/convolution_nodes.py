"""Convolutions in a traced graph, and how their weights are scaled."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

aten = torch.ops.aten

_TRANSPOSED = {aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input}
CONVOLUTIONS = {
    aten.conv1d.default,
    aten.conv1d.padding,
    aten.conv2d.default,
    aten.conv2d.padding,
    aten.conv3d.default,
    aten.conv3d.padding,
    *_TRANSPOSED,
}
"""The operators, whose arguments are input, weight, bias, four of the geometry, and in place 6 the groups."""


def scale_outputs(node: Node, weight: Tensor, factors: Tensor) -> Tensor:
    """Return the weight of a convolution whose output channels are multiplied by ``factors``, ``(out_channels,)``."""
    # The weight of a transposed one has the shape (in_channels, out_channels / groups, *kernel_size).
    return _scale_second(node, weight, factors) if node.target in _TRANSPOSED else _scale_first(weight, factors)


def scale_inputs(node: Node, weight: Tensor, factors: Tensor) -> Tensor:
    """Return the weight of a convolution whose input channels are multiplied by ``factors``, ``(in_channels,)``."""
    return _scale_first(weight, factors) if node.target in _TRANSPOSED else _scale_second(node, weight, factors)


def _scale_first(weight: Tensor, factors: Tensor) -> Tensor:
    return weight * factors.reshape(-1, *(1,) * (weight.dim() - 1))


def _scale_second(node: Node, weight: Tensor, factors: Tensor) -> Tensor:
    """Scale the second axis, whose channels are those of the group that a row belongs to."""
    groups: Any = node.args[6] if len(node.args) > 6 else 1
    rows = weight.reshape(groups, -1, *weight.shape[1:])
    return (rows * factors.reshape(groups, 1, -1, *(1,) * (weight.dim() - 2))).reshape(weight.shape)
