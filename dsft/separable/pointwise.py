"""1x1 convolutions on the CPU: computed by oneDNN where MKL is slower, or with a change of the memory layout."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

from dsft.compat.torch_convolution import Convolution, onednn_convolution
from dsft.compat.torch_dispatch import is_in_dispatch_mode
from dsft.compat.torch_modules import has_forward_hooks

IS_X86 = platform.machine().lower() in ("x86_64", "amd64")


def _is_intel() -> bool:
    """Whether MKL runs on a processor of its maker; one that the system does not describe is taken for another."""
    info = Path("/proc/cpuinfo")
    description = info.read_text(encoding="utf-8", errors="replace")[:4096] if info.is_file() else platform.processor()
    return IS_X86 and ("Intel" in description or sys.platform == "darwin")


IS_INTEL = _is_intel()

HAS_ONEDNN: bool = IS_X86 and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]

LEAST_IMAGES = 4 if IS_INTEL else 1
"""Minimum number of images. On an Intel processor the matrix product of MKL takes 0.3 to 0.9 of the time for one image,
and as much or a little more for four and more in channels_last."""

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
    convolution of oneDNN. The results differ by rounding. torch's own convolution is used for small maps, on Intel
    processors for few images and in the contiguous layout, where it is faster, and if anything other than the plain
    result is needed: a gradient, forward or backward, a trace, an export, a count of operations, or another dtype,
    device or padding.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Convolve ``(batch, in_channels, height, width)`` or an unbatched ``(in_channels, height, width)``."""
        output: Tensor | None = None
        is_usable = HAS_ONEDNN and self.padding_mode == "zeros" and not isinstance(self.padding, str)
        if is_usable and _is_plain(input, self.weight) and _pays(input, self.weight):
            geometry: Any = (self.padding, self.stride, self.dilation, self.groups)
            output = onednn_convolution(input, self.weight, self.bias, *geometry)
        return super().forward(input) if output is None else output


def _is_plain(images: Tensor, weight: Tensor) -> bool:
    is_tracing: bool = torch.jit.is_tracing()  # type: ignore[no-untyped-call,attr-defined]
    # First, since a trace would record the following conditions, or cannot evaluate them.
    is_traced = is_tracing or torch.compiler.is_compiling() or is_in_dispatch_mode()
    if is_traced or type(images) is not Tensor:
        return False
    needs_gradient = torch.is_grad_enabled() and (images.requires_grad or weight.requires_grad)
    has_tangent = any(unpack_dual(tensor).tangent is not None for tensor in (images, weight))  # type: ignore[no-untyped-call]
    return (
        bool(torch.backends.mkldnn.enabled)
        and images.device.type == "cpu"
        and images.dtype == weight.dtype == torch.float32
        and images.dim() == 4
        and not needs_gradient
        and not has_tangent
        and not torch.is_autocast_enabled("cpu")
    )


def _pays(images: Tensor, weight: Tensor) -> bool:
    if images.shape[0] < LEAST_IMAGES or (IS_INTEL and images.is_contiguous()):
        return False
    positions = images.shape[0] * images.shape[2] * images.shape[3]
    least = LEAST_POSITIONS if weight.shape[1] % _PAGE else LEAST_POSITIONS_OF_PAGES
    return positions >= least and positions * weight.numel() >= LEAST_MACS


POINTWISE: dict[int, type[Any]] = {1: nn.Conv1d, 2: PointwiseConv2d, 3: nn.Conv3d}
"""The class of a 1x1 convolution, by its number of dimensions."""


def can_change_layout(images: Tensor, *layers: Convolution) -> bool:
    """Whether plain 1x1 convolutions around a depthwise one may run it in channels_last, on contiguous images.

    oneDNN computes a depthwise convolution of contiguous maps in a third of the speed or less, since it reorders them
    twice. The products of :func:`into_channels_last` and :func:`into_contiguous` change the layout at no cost with MKL
    on an Intel processor, where it was measured.

    Args:
        images: Input of the first layer.
        layers: The 1x1 convolutions. They are not called, so none may have hooks.
    """
    return (
        IS_INTEL
        and all(type(layer) is PointwiseConv2d and layer.groups == 1 for layer in layers)
        and all(_is_plain(images, layer.weight) for layer in layers)
        and images.is_contiguous()
        and images.numel() > 0
        # With kernels in channels_last torch's output is in that layout too.
        and all(layer.weight.stride(3) == 1 for layer in layers)
        and not any(map(has_forward_hooks, layers))
    )


def into_channels_last(layer: Convolution, images: Tensor) -> Tensor:
    """Apply a 1x1 convolution without bias to contiguous ``(batch, in_channels, height, width)``; channels_last."""
    batch, channels, *size = images.shape
    kernel = layer.weight.flatten(1).T.expand(batch, channels, layer.out_channels)
    maps = torch.bmm(images.flatten(2).transpose(1, 2), kernel)
    return maps.view(batch, *size, -1).permute(0, 3, 1, 2)


def into_contiguous(layer: Convolution, maps: Tensor) -> Tensor:
    """Apply a 1x1 convolution to ``(batch, in_channels, height, width)`` in channels_last; contiguous."""
    batch, channels, *size = maps.shape
    kernel, bias = layer.weight.flatten(1).expand(batch, layer.out_channels, channels), layer.bias
    rows = maps.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2)
    output = torch.bmm(kernel, rows) if bias is None else torch.baddbmm(bias.unsqueeze(1), kernel, rows)
    return output.view(batch, -1, *size)
