"""Convolutions padded as TensorFlow pads: as much as the size of each image needs, the odd line at the far end."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from dsft.separable.conv2d import DepthwiseSeparableConv2d


class SameConv2d(nn.Conv2d):
    """A dense convolution whose output has ``ceil(size / stride)`` positions a side, as timm's ``Conv2dSame``."""

    def forward(self, images: Tensor) -> Tensor:
        """Pad and convolve ``(batch, in_channels, height, width)`` or an unbatched ``(in_channels, ...)``."""
        return super().forward(_padded(self, images))


class DepthwiseSeparableConv2dSame(DepthwiseSeparableConv2d):
    """In place of timm's ``Conv2dSame`` and its like; see :class:`DepthwiseSeparableConv2d`.

    Zeros around the input are zeros around every repeated channel, so padding once before the layer is the same.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Convolve ``(batch, in_channels, height, width)`` or an unbatched ``(in_channels, ...)``."""
        return super().forward(_padded(self, images))

    def merge(self) -> SameConv2d:
        """Return the dense convolution of the same function, device, dtype and mode."""
        dense = super().merge()
        same = SameConv2d(
            dense.in_channels,
            dense.out_channels,
            self.kernel_size,
            self.stride,
            dilation=self.dilation,
            groups=dense.groups,
            bias=dense.bias is not None,
            device=dense.weight.device,
            dtype=dense.weight.dtype,
        )
        same.weight, same.bias = dense.weight, dense.bias
        return same.train(self.training)


def _padded(layer: nn.Conv2d | DepthwiseSeparableConv2d, images: Tensor) -> Tensor:
    sides: list[int] = []
    for axis in (1, 0):
        size, kernel, stride, dilation = (
            images.shape[axis - 2],
            layer.kernel_size[axis],
            layer.stride[axis],
            layer.dilation[axis],
        )
        missing = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        sides += [missing // 2, missing - missing // 2]
    return functional.pad(images, sides)
