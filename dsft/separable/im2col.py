"""The patches that a kernel sees, as feature maps."""

from __future__ import annotations

import math
from typing import Any

import torch

from dsft.compat.torch_convolution import Convolution
from dsft.separable.factored import FactoredConv


def patch_layer(conv: Convolution | FactoredConv, dense_class: type[Any], channels: int) -> Convolution:
    """Build a depthwise convolution that outputs each kernel position of each channel as a map, channel by channel.

    This is ``im2col`` for any stride, dilation, padding or transposition: the output of a depthwise kernel of the same
    geometry is a weighted sum of the maps of its channel.

    Args:
        conv: The convolution whose geometry is used.
        dense_class: Class of the convolution to build.
        channels: Channels of the input.

    Returns:
        A convolution from ``channels`` to ``channels * positions`` maps.
    """
    positions = math.prod(conv.kernel_size)
    weight = next(conv.parameters())
    # The random initial weights are replaced at once, so drawing them must not advance the caller's generator.
    with torch.random.fork_rng(devices=[weight.device] if weight.is_cuda else []):
        layer: Convolution = dense_class(
            channels,
            channels * positions,
            conv.kernel_size,
            stride=conv.stride,
            padding=conv.padding,
            dilation=conv.dilation,
            groups=channels,
            bias=False,
            padding_mode=conv.padding_mode,
            **({"output_padding": conv.output_padding} if conv.transposed else {}),
            device=weight.device,
            dtype=weight.dtype,
        )
    unit = torch.eye(positions).reshape(positions, *conv.kernel_size).expand(channels, -1, *conv.kernel_size)
    with torch.no_grad():
        layer.weight.copy_(unit if conv.transposed else unit.flatten(0, 1).unsqueeze(1))
    return layer.eval().requires_grad_(False)
