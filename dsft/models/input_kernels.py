"""Kernels of first layers for another number of input channels."""

from __future__ import annotations

from timm.models import adapt_input_conv
from torch import Tensor


def adapt_kernel(weight: Tensor, before: int, after: int) -> Tensor:
    """Adapt a kernel to another number of channels, as timm does: summed for one channel, else repeated and scaled.

    Args:
        weight: ``(out_channels, n * before, *size)`` with one to three axes; a space-to-depth stem has n input channels
            for every channel.
        before: Number of channels.
        after: The new number.

    Returns:
        ``(out_channels, n * after, *size)``.

    Raises:
        NotImplementedError: It is the kernel of another layer, such as a linear one.
    """
    outputs, _, *size = weight.shape
    if not size:
        raise NotImplementedError(f"a kernel of shape {tuple(weight.shape)} has no channels")
    # timm knows kernels of images only.
    planes = weight.reshape(-1, before, 1, weight[0, 0].numel())
    return adapt_input_conv(after, planes, base_chans=before).reshape(outputs, -1, *size)
