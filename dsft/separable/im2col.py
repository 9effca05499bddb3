"""What the positions of a kernel see, as maps of their own."""

from __future__ import annotations

import math
from typing import Any

import torch

from dsft.compat.torch_convolution import Convolution
from dsft.separable.base import DepthwiseSeparableConv


def make_taps(conv: Convolution | DepthwiseSeparableConv, dense_class: type[Any], channels: int) -> Convolution:
    """Build a depthwise convolution with one output for each channel and kernel position, channel by channel.

    Any depthwise kernel of the same geometry is a weighted sum of a channel's outputs, so that what such kernels
    would see can be looked at whatever the stride, dilation, padding or transposition.

    Args:
        conv: The convolution whose geometry is taken.
        dense_class: The class that convolves so.
        channels: Channels of the maps that are looked at.

    Returns:
        A convolution from ``channels`` to ``channels * positions`` maps.
    """
    positions = math.prod(conv.kernel_size)
    weight = next(conv.parameters())
    # Its first random weights are replaced at once, so drawing them shall not move the caller's random numbers on.
    with torch.random.fork_rng(devices=[weight.device] if weight.is_cuda else []):
        taps: Convolution = dense_class(
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
        taps.weight.copy_(unit if conv.transposed else unit.flatten(0, 1).unsqueeze(1))
    return taps.eval().requires_grad_(False)
