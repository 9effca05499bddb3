"""1x1 convolutions, computed by oneDNN on the CPU for any number of threads."""

from __future__ import annotations

import platform
from typing import Any

import torch
from torch import Tensor, nn

from dsft.compat.torch_convolution import onednn_convolution
from dsft.compat.torch_dispatch import is_in_dispatch_mode

HAS_ONEDNN: bool = platform.machine().lower() in ("x86_64", "amd64") and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]

LEAST_POSITIONS, LEAST_MACS = 49, 4_000_000
"""Minimum number of positions, over all images, and of multiply-accumulates from which oneDNN is faster: a call has an
overhead of about 20 microseconds, and reorders the weights."""

LEAST_POSITIONS_OF_PAGES = 128
"""The same if the weights of one output fill whole pages of memory: the reordering then misses the cache."""

_PAGE = 1024
"""Weights in a memory page of 4 KiB."""


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 :class:`torch.nn.Conv2d` that is faster with a single thread.

    With one thread and fewer than 16 images torch computes it as a matrix product of MKL
    (``aten/src/ATen/native/Convolution.cpp``, ``use_mkldnn``), which on AMD processors is about half as fast as the
    convolution of oneDNN. The results differ by rounding. torch's own convolution is used for small maps, and if
    anything other than the plain result is needed: a gradient, a trace, an export, a count of operations, or another
    dtype, device or padding.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Convolve ``(batch, in_channels, height, width)`` or an unbatched ``(in_channels, height, width)``."""
        output: Tensor | None = None
        if self.padding_mode == "zeros" and not isinstance(self.padding, str) and _is_plain(input, self.weight):
            geometry = (self.padding, self.stride, self.dilation, self.groups)
            output = onednn_convolution(input, self.weight, self.bias, *geometry)
        return super().forward(input) if output is None else output


def _is_plain(images: Tensor, weight: Tensor) -> bool:
    is_tracing: bool = torch.jit.is_tracing()  # type: ignore[no-untyped-call,attr-defined]
    # First, since a trace would record the following conditions, or cannot evaluate them.
    is_traced = is_tracing or torch.compiler.is_compiling() or is_in_dispatch_mode()
    if is_traced or type(images) is not Tensor:
        return False
    needs_gradient = torch.is_grad_enabled() and (images.requires_grad or weight.requires_grad)
    return (
        HAS_ONEDNN
        and bool(torch.backends.mkldnn.enabled)
        and images.device.type == "cpu"
        and images.dtype == weight.dtype == torch.float32
        and images.dim() == 4
        and _pays(images, weight)
        and not needs_gradient
        and not torch.is_autocast_enabled("cpu")
    )


def _pays(images: Tensor, weight: Tensor) -> bool:
    positions = images.shape[0] * images.shape[2] * images.shape[3]
    least = LEAST_POSITIONS if weight.shape[1] % _PAGE else LEAST_POSITIONS_OF_PAGES
    return positions >= least and positions * weight.numel() >= LEAST_MACS


POINTWISE: dict[int, type[Any]] = {1: nn.Conv1d, 2: PointwiseConv2d, 3: nn.Conv3d}
"""The class of a 1x1 convolution, by its number of dimensions."""
