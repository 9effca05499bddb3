"""The form ``passes``: the kernels of one rank after those of another, without a repeated copy of the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional

from dsft.compat.torch_convolution import Convolution

_CONVOLVE: dict[int, Any] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def run_passes(
    images: Tensor,
    in_channels: int,
    depthwise: Convolution,
    pointwise: Convolution,
    channels: Tensor,
    bounds: Sequence[tuple[int, int]],
) -> Tensor:
    """Convolve depthwise and pointwise, one rank at a time, and sum.

    Args:
        images: ``(..., in_channels, *size)``.
        in_channels: Channels of the images.
        depthwise: The depthwise convolution with all kernels, sorted by group and within it by rank.
        pointwise: The pointwise convolution.
        channels: The input channel that each depthwise kernel reads.
        bounds: Start and end of each rank among the kernels of one group.
    """
    dimensions, groups = len(depthwise.kernel_size), pointwise.groups
    axis, convolve, padding = -1 - dimensions, _CONVOLVE[dimensions], depthwise.padding
    if depthwise.padding_mode != "zeros":
        images = functional.pad(images, _border(depthwise), mode=depthwise.padding_mode)
        padding = (0,) * dimensions
    weights = depthwise.weight.reshape(groups, -1, 1, *depthwise.kernel_size)
    readers = channels.reshape(groups, -1)
    parts: list[Tensor] = []
    for start, end in bounds:
        kernels, count = weights[:, start:end].flatten(0, 1), groups * (end - start)
        inputs = images if count == in_channels else images.index_select(axis, readers[:, start:end].flatten())
        maps = convolve(inputs, kernels, None, depthwise.stride, padding, depthwise.dilation, count)
        bias = None if parts else pointwise.bias
        part = convolve(maps, pointwise.weight[:, start:end], bias, groups=groups)
        # Added at once, so that no more than two outputs are in memory.
        parts = [parts[0] + part] if parts else [part]
    return parts[0]


def _border(conv: Convolution) -> list[int]:
    """Return the padding of a convolution as :func:`torch.nn.functional.pad` takes it, last dimension first."""
    if conv.padding == "same":
        spans = [step * (size - 1) for size, step in zip(conv.kernel_size, conv.dilation, strict=True)]
        # Of an odd total, torch's convolutions add the larger half behind.
        sides = [(span // 2, span - span // 2) for span in spans]
    elif isinstance(conv.padding, str):
        sides = [(0, 0)] * len(conv.kernel_size)
    else:
        sides = [(size, size) for size in conv.padding]
    return [side for pair in reversed(sides) for side in pair]
